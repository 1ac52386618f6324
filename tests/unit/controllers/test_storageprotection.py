"""Claims and volumes stay while they are in use, by whoever's hand they are deleted."""

from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.storage_v1 import VolumeAttributesClass
from kybern.controllers.storageprotection import CLAIM_FINALIZER, VOLUME_FINALIZER, classes_of, named_claims, protected
from kybern.reconcile import Key
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running

CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}


def built(kind: type[Any], name: str, spec: Any, **metadata: Any) -> Any:
    namespace = {"namespace": "default"} if kind is not PersistentVolume else {}
    return from_builtins(kind, {"metadata": {"name": name, **namespace, **metadata}, "spec": spec})


def pod(**volume: Any) -> Pod:
    containers = [{"name": "c", "image": "i"}]
    return built(Pod, "p", {"containers": containers, "volumes": [{"name": "v", **volume}]})


async def finalizers(cluster: Cluster, kind: type[Any], name: str) -> tuple[str, ...] | None:
    """None where it is gone."""
    found = [one for one in await cluster.client.list(kind) if one.metadata.name == name]
    return found[0].metadata.finalizers or () if found else None


def test_a_claim_outlives_its_deletion_as_long_as_a_pod_uses_it() -> None:
    async def main() -> list[tuple[str, ...] | None]:
        async with running(("n1",)) as cluster:
            await cluster.advance(5)
            await cluster.client.create(built(PersistentVolumeClaim, "c", CLAIM))
            await cluster.client.create(pod(persistentVolumeClaim={"claimName": "c"}))
            await cluster.settle()
            seen = [await finalizers(cluster, PersistentVolumeClaim, "c")]
            await cluster.client.delete(PersistentVolumeClaim, "c", "default")
            await cluster.settle()
            seen.append(await finalizers(cluster, PersistentVolumeClaim, "c"))
            await cluster.client.delete(Pod, "p", "default")
            await cluster.advance(60)
            seen.append(await finalizers(cluster, PersistentVolumeClaim, "c"))
            return seen

    assert virtual.run(main()) == [(CLAIM_FINALIZER,), (CLAIM_FINALIZER,), None]


def test_what_nobody_uses_goes_at_once() -> None:
    async def main() -> list[tuple[str, ...] | None]:
        async with running(("n1",)) as cluster:
            await cluster.advance(5)
            await cluster.client.create(built(PersistentVolumeClaim, "c", CLAIM))
            await cluster.client.create(built(PersistentVolume, "v", VOLUME))
            seen = [await finalizers(cluster, PersistentVolume, "v")]
            await cluster.client.delete(PersistentVolumeClaim, "c", "default")
            await cluster.client.delete(PersistentVolume, "v")
            await cluster.settle()
            seen.append(await finalizers(cluster, PersistentVolumeClaim, "c"))
            seen.append(await finalizers(cluster, PersistentVolume, "v"))
            return seen

    assert virtual.run(main()) == [(VOLUME_FINALIZER,), None, None]


def test_a_finalizer_comes_back_while_the_object_lives_and_others_are_left_alone() -> None:
    bare = built(PersistentVolume, "v", VOLUME)
    held = protected(bare, VOLUME_FINALIZER, in_use=False)
    assert held.metadata.finalizers == (VOLUME_FINALIZER,)
    assert protected(held, VOLUME_FINALIZER, in_use=False) is held
    going = built(
        PersistentVolume,
        "v",
        VOLUME,
        finalizers=["other/f", VOLUME_FINALIZER],
        deletionTimestamp="2026-01-01T00:00:00Z",
    )
    assert protected(going, VOLUME_FINALIZER, in_use=True) is going
    assert protected(going, VOLUME_FINALIZER, in_use=False).metadata.finalizers == ("other/f",)


def test_a_pod_uses_the_claims_it_names_and_those_made_for_it() -> None:
    assert set(named_claims(pod(persistentVolumeClaim={"claimName": "c"}))) == {Key("default", "c")}
    template = {"volumeClaimTemplate": {"spec": CLAIM}}
    assert set(named_claims(pod(ephemeral=template))) == {Key("default", "p-v")}
    assert not set(named_claims(pod(emptyDir={})))


def test_a_class_of_volumes_outlives_its_deletion_as_long_as_a_claim_has_it() -> None:
    async def main() -> list[tuple[str, ...] | None]:
        async with running(("n1",)) as cluster:
            found = from_builtins(
                VolumeAttributesClass,
                {"metadata": {"name": "fast"}, "driverName": "d.example.com", "parameters": {"iops": "1"}},
            )
            await cluster.client.create(found)
            await cluster.client.create(
                built(PersistentVolumeClaim, "c", CLAIM | {"volumeAttributesClassName": "fast"})
            )
            seen = [await finalizers(cluster, VolumeAttributesClass, "fast")]
            await cluster.client.delete(VolumeAttributesClass, "fast")
            await cluster.settle()
            seen.append(await finalizers(cluster, VolumeAttributesClass, "fast"))
            await cluster.client.delete(PersistentVolumeClaim, "c", "default")
            await cluster.settle()
            return [*seen, await finalizers(cluster, VolumeAttributesClass, "fast")]

    assert virtual.run(main()) == [("kubernetes.io/vac-protection",)] * 2 + [None]


def test_a_claim_has_the_class_that_it_wants_that_it_is_of_and_that_it_becomes() -> None:
    status = {
        "currentVolumeAttributesClassName": "b",
        "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "c"},
    }
    claim = from_builtins(PersistentVolumeClaim, {"spec": {"volumeAttributesClassName": "a"}, "status": status})
    assert classes_of(claim) == {Key("", "a"), Key("", "b"), Key("", "c")}
