"""2,000 random clusters with volumes, devices and images: where a pod fits is what a slow model says, and so are the scores."""

import random
from typing import Any

import numpy as np
import pytest
from known_objects import Known
from storage_model import DRIVER, GPU, HOST, OLD_ZONE, ZONE, Json, Storage

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.resource_v1 import DeviceClass, ResourceClaim, ResourceSlice
from kybern.api.storage_v1 import CSINode, StorageClass
from kybern.scheduler.judgement import judge, scored
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.snapshot import Snapshot

NODES = ("n0", "n1", "n2", "n3")
IMAGES = {"app:1": 300 * 1024 * 1024, "base:2": 900 * 1024 * 1024, "tiny:1": 1024}
CLASSES: dict[str, Json] = {
    "local": {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"},
    "made": {"provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer"},
    "made-in-u": {
        "provisioner": DRIVER, "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": ZONE, "values": ["u"]}]}],
    },
    "at-once": {"provisioner": DRIVER},
}  # fmt: skip
GPU_CLASS = from_builtins(
    DeviceClass,
    {"metadata": {"name": "gpu"}, "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{GPU}"'}}]}},
)


def maybe(rng: random.Random, share: float, **found: Any) -> dict[str, Any]:
    return found if rng.random() < share else {}


def random_node(rng: random.Random, name: str) -> Json:
    labels = {HOST: name, **maybe(rng, 0.8, **{rng.choice((ZONE, ZONE, OLD_ZONE)): rng.choice("uv")})}
    images = [{"names": [image], "sizeBytes": size} for image, size in IMAGES.items() if rng.random() < 0.5]
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"pods": "110"}, "images": images}}


def random_volume(rng: random.Random, name: str) -> Json:
    hosts = {"key": HOST, "operator": "In", "values": rng.sample(NODES, rng.randint(1, 3))}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [hosts]}]}}
    labels = maybe(rng, 0.4, **{rng.choice((ZONE, OLD_ZONE)): rng.choice(("u", "v", "u__v", "w"))})
    spec = {
        "capacity": {"storage": f"{rng.randint(1, 4)}Gi"}, "accessModes": ["ReadWriteOnce", "ReadWriteOncePod"][: rng.randint(1, 2)],
        "storageClassName": rng.choice(("local", "made")), **maybe(rng, 0.5, nodeAffinity=affinity),
        **maybe(rng, 0.6, csi={"driver": DRIVER, "volumeHandle": name}),
    }  # fmt: skip
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"phase": "Available"}}


def random_claim(rng: random.Random, name: str, world: Storage) -> Json:
    free = [one for one, volume in world.volumes.items() if "claimRef" not in volume["spec"]]
    bound = rng.choice(free) if free and rng.random() < 0.4 else ""
    selected = maybe(rng, 0.1, **{"volume.kubernetes.io/selected-node": rng.choice(NODES)})
    meta = {"name": name, "namespace": "a", "uid": name, "annotations": {} if bound else selected}
    spec = {
        "accessModes": [rng.choice(("ReadWriteOnce", "ReadWriteOnce", "ReadWriteOncePod"))],
        "storageClassName": rng.choice(("local", "local", "made", "made-in-u", "at-once")),
        "resources": {"requests": {"storage": f"{rng.randint(1, 3)}Gi"}}, **({"volumeName": bound} if bound else {}),
    }  # fmt: skip
    if bound:
        world.volumes[bound]["spec"]["claimRef"] = {"namespace": "a", "name": name, "uid": name}
    return {"metadata": meta, "spec": spec, "status": {"phase": "Bound" if bound else "Pending"}}


def random_device_claim(rng: random.Random, name: str) -> Json:
    def request(number: int) -> Json:
        told = [{"cel": {"expression": f'device.attributes["{GPU}"].model == "{rng.choice("ab")}"'}}]
        asked = {"deviceClassName": "gpu", "count": rng.randint(1, 2), **maybe(rng, 0.4, selectors=told)}
        return {"name": f"r{number}", "exactly": asked}

    alike = maybe(rng, 0.3, constraints=[{"matchAttribute": f"{GPU}/model"}])
    requests = [request(number) for number in range(rng.randint(1, 2))]
    made_from = {"resource.kubernetes.io/pod-claim-name": name}
    meta = {"name": name, "namespace": "a", "uid": name, "annotations": made_from}
    return {"metadata": meta, "spec": {"devices": {"requests": requests, **alike}}}


def allocated(rng: random.Random, claim: Json, world: Storage) -> Json:
    """To one device of some node, whatever was asked for: that it is taken is what matters."""
    node = rng.choice([name for name in NODES if world.devices[name]])
    taken = {"request": "r0", "driver": GPU, "pool": node, "device": rng.choice(world.devices[node])["name"]}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    where = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {**claim, "status": {"allocation": {"devices": {"results": [taken]}, "nodeSelector": where}}}


def random_pod(rng: random.Random, name: str, world: Storage) -> Json:
    claims = rng.sample(sorted(world.claims), rng.choice((0, 1, 1, 2)))
    claims += ["missing"] if rng.random() < 0.03 else []
    volumes: list[Json] = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    if rng.random() < 0.3:
        volumes.append(
            {"name": "d", "gcePersistentDisk": {"pdName": rng.choice("xy"), **maybe(rng, 0.5, readOnly=True)}}
        )
    devices = [
        {"name": one, "resourceClaimName": one} for one in rng.sample(sorted(world.asked), rng.choice((0, 0, 1, 2)))
    ]
    containers = [{"name": f"c{number}", "image": rng.choice(sorted(IMAGES))} for number in range(rng.randint(1, 2))]
    spec = {"containers": containers, "volumes": volumes, "resourceClaims": devices}
    return {"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": spec}


def random_world(rng: random.Random) -> Storage:
    world = Storage(classes=CLASSES)
    world.nodes = {name: random_node(rng, name) for name in NODES}
    world.volumes = {f"v{number}": random_volume(rng, f"v{number}") for number in range(6)}
    for number in range(6):
        world.claims[f"c{number}"] = random_claim(rng, f"c{number}", world)
    world.limits = {name: rng.randint(0, 2) for name in NODES if rng.random() < 0.5}
    world.devices = {
        name: [
            {"name": f"g{number}", "attributes": {"model": {"string": rng.choice("ab")}}}
            for number in range(rng.randint(0, 4))
        ]
        for name in NODES
    }
    for number in range(4):
        claim = random_device_claim(rng, f"d{number}")
        given = rng.random() < 0.3 and any(world.devices.values())
        world.asked[f"d{number}"] = allocated(rng, claim, world) if given else claim
    return world


def snapshot_of(world: Storage) -> Snapshot:
    objects = [from_builtins(PersistentVolume, one) for one in world.volumes.values()]
    objects += [from_builtins(PersistentVolumeClaim, one) for one in world.claims.values()]
    objects += [from_builtins(StorageClass, {"metadata": {"name": name}, **one}) for name, one in CLASSES.items()]
    for name, limit in world.limits.items():
        driver = {"name": DRIVER, "nodeID": name, "allocatable": {"count": limit}}
        objects.append(from_builtins(CSINode, {"metadata": {"name": name}, "spec": {"drivers": [driver]}}))
    for name, devices in world.devices.items():
        pool = {"name": name, "generation": 1, "resourceSliceCount": 1}
        spec = {"driver": GPU, "pool": pool, "nodeName": name, "devices": devices}
        objects.append(from_builtins(ResourceSlice, {"metadata": {"name": f"slice-{name}"}, "spec": spec}))
    objects += [from_builtins(ResourceClaim, one) for one in world.asked.values()]
    snapshot = Snapshot()
    snapshot.view = Known(GPU_CLASS, *objects)
    for one in world.nodes.values():
        snapshot.set_node(from_builtins(Node, one))
    for said in objects:
        snapshot.attachments.changed(None, said)
    return snapshot


@pytest.mark.parametrize("seed", range(20))
def test_in_100_random_clusters_volumes_devices_and_images_are_the_model_s(seed: int) -> None:
    rng = random.Random(seed)
    some, none, compared = 0, 0, 0
    for _ in range(100):
        world = random_world(rng)
        snapshot = snapshot_of(world)
        for step in range(5):
            plain = random_pod(rng, f"p{step}", world)
            pod = from_builtins(Pod, plain)
            judgement = judge(pod, snapshot, DEFAULT_PROFILE)
            rows = np.flatnonzero(judgement.fits)
            names = [snapshot.nodes[row].metadata.name or "" for row in rows]
            assert sorted(names) == world.fits(plain)
            some, none = some + bool(names), none + (not names)
            columns = dict(scored(judgement, rows)) if names else {}
            for name, score in zip(names, columns.get("ImageLocality", np.zeros(len(names))).tolist(), strict=True):
                assert abs(score - world.images(plain, name)) <= 1
                compared += 1
            chosen = rng.choice(names or sorted(world.nodes))
            snapshot.add_pod(pod, chosen)
            world.there.setdefault(chosen, []).append(plain)
    assert some > 100 and none > 100 and compared > 100
