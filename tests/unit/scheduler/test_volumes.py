"""Where pods with volumes go: by value, and through the scheduler with somebody who makes and binds volumes."""

from typing import Any

import pytest
from known_objects import ZONE, Known, node
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Node, PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.storage_v1 import CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.claims import SELECTED_NODE, offers_for
from kybern.scheduler.judgement import judge
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.plugins.volume_binding import VolumeBinding
from kybern.scheduler.preemption import Refused, preempt
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.volume_scores import MUCH_LEFT
from kybern.testing.cluster import running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


def pod(name: str, *claims: str, volumes: tuple[Any, ...] = (), **spec: Any) -> Pod:
    listed = [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims]
    containers = [{"name": "c", "image": "i"}]
    return from_builtins(
        Pod,
        {
            "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"containers": containers, "volumes": [*listed, *volumes], **spec},
        },
    )


def claim(
    name: str, volume: str = "", cls: str = "late", size: str = "1Gi", mode: str = "ReadWriteOnce", **more: Any
) -> Any:
    spec = {"accessModes": [mode], "storageClassName": cls, "resources": {"requests": {"storage": size}}}
    status = {"phase": "Bound" if volume else "Pending"}
    meta = {"name": name, "namespace": "a", "uid": f"claim-{name}", **more}
    return from_builtins(
        PersistentVolumeClaim, {"metadata": meta, "spec": {**spec, "volumeName": volume or None}, "status": status}
    )


def volume(name: str, size: str = "1Gi", on: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Any:
    affinity: Any = None
    if on:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}]}
        affinity = {"required": {"nodeSelectorTerms": [term]}}
    told = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late", **spec}
    return from_builtins(
        PersistentVolume,
        {"metadata": {"name": name, "labels": labels or {}}, "spec": {**told, "nodeAffinity": affinity}},
    )


def storage(name: str = "late", provisioner: str = "kubernetes.io/no-provisioner", **more: Any) -> Any:
    mode = {"volumeBindingMode": "WaitForFirstConsumer"} if name == "late" else {}
    return from_builtins(StorageClass, {"metadata": {"name": name}, "provisioner": provisioner, **mode, **more})


def cluster(*objects: Any, nodes: tuple[Node, ...] = (node("n1", "x"), node("n2", "y"), node("n3"))) -> Snapshot:
    snapshot = Snapshot()
    snapshot.view = Known(*objects)
    for one in nodes:
        snapshot.set_node(one)
    for said in objects:
        snapshot.attachments.changed(None, said)
    return snapshot


def fits(wanted: Pod, snapshot: Snapshot) -> list[str]:
    found = judge(wanted, snapshot, DEFAULT_PROFILE).fits
    return [one.metadata.name or "" for one, fit in zip(snapshot.nodes, found, strict=True) if fit]


def why(wanted: Pod, snapshot: Snapshot) -> str:
    return refusal(wanted, judge(wanted, snapshot, DEFAULT_PROFILE), snapshot).available


REGION, OLD_ZONE = "topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone"
ELSEWHERE = "node(s) didn't match PersistentVolume's node affinity"
NOTHING = "node(s) didn't find available persistent volumes to bind"


def test_a_bound_volume_ties_its_pod_to_the_nodes_it_can_be_used_on() -> None:
    snapshot = cluster(claim("c", "v"), volume("v", on="n2"))
    assert fits(pod("p", "c"), snapshot) == ["n2"]
    snapshot = cluster(claim("c", "v"), volume("v", on="n9"))
    assert why(pod("p", "c"), snapshot) == f"0/3 nodes are available: 3 {ELSEWHERE}."


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ((), 'persistentvolumeclaim "c" not found'),
        ((claim("c", cls="now"), storage("now")), "pod has unbound immediate PersistentVolumeClaims"),
        ((claim("c", deletionTimestamp="2026-01-01T00:00:00Z"),), 'persistentvolumeclaim "c" is being deleted'),
        ((claim("c", "v"),), 'persistentvolume "v" not found'),
        ((claim("c"), storage()), NOTHING),
    ],
)
def test_what_is_wrong_with_a_claim_is_said(objects: tuple[Any, ...], says: str) -> None:
    counted = "3 " if says == NOTHING else ""  # what is no node's matter is said once
    assert why(pod("p", "c"), cluster(*objects)) == f"0/3 nodes are available: {counted}{says}."


def test_a_claim_that_waits_goes_where_a_volume_suits_and_each_volume_is_promised_once() -> None:
    objects = (
        claim("c"),
        claim("d"),
        storage(),
        volume("big", "9Gi", "n1"),
        volume("small", "1Gi", "n1"),
        volume("tiny", "1Mi"),
    )
    snapshot = cluster(*objects)
    assert fits(pod("p", "c"), snapshot) == ["n1"]
    binding = VolumeBinding()
    assert binding.reserve(pod("p", "c"), "n1", snapshot) == ""
    assert snapshot.volumes.volumes == {"small": ("a", "c")}
    assert binding.reserve(pod("q", "d"), "n1", snapshot) == ""
    assert snapshot.volumes.volumes["big"] == ("a", "d")
    snapshot.view.objects[PersistentVolumeClaim, "a", "e"] = claim("e")  # type: ignore[attr-defined]
    assert fits(pod("r", "e"), snapshot) == []
    binding.unreserve(pod("q", "d"), "n1", snapshot)
    assert fits(pod("r", "e"), snapshot) == ["n1"]


def test_a_node_is_shown_only_the_volumes_that_may_be_used_there_in_their_order() -> None:
    volumes = [volume(f"v{number}", on=f"n{number % 3}" if number else "") for number in range(7)]
    taken, other = volume("taken", claimRef={"namespace": "a", "name": "x"}), volume("other", storageClassName="now")
    offers = offers_for((claim("c"),), Known(taken, other, *volumes))
    here = offers.to({"kubernetes.io/hostname": "n1"})
    assert [one.metadata.name for one in here] == ["v0", "v1", "v4"]
    assert [one.metadata.name for one in offers.to({})] == ["v0"]
    assert offers_for((claim("x"),), Known(taken)).count == 1


def test_a_class_may_be_said_by_the_annotation_of_old() -> None:
    old = {"volume.beta.kubernetes.io/storage-class": "late"}
    theirs = volume("v", on="n2", storageClassName="")
    theirs = replace(theirs, metadata=replace(theirs.metadata, annotations=old))
    assert fits(pod("p", "c"), cluster(claim("c", cls="", annotations=old), storage(), theirs)) == ["n2"]


def test_a_provisioner_makes_volumes_where_its_class_allows_and_where_there_is_space() -> None:
    only_y = {"allowedTopologies": [{"matchLabelExpressions": [{"key": ZONE, "values": ["y"]}]}]}
    assert fits(pod("p", "c"), cluster(claim("c"), storage("late", "csi.example"))) == ["n1", "n2", "n3"]
    assert fits(pod("p", "c"), cluster(claim("c"), storage("late", "csi.example", **only_y))) == ["n2"]
    chosen = claim("c", annotations={SELECTED_NODE: "n3"})
    assert fits(pod("p", "c"), cluster(chosen, storage("late", "csi.example"))) == ["n3"]
    driver = from_builtins(CSIDriver, {"metadata": {"name": "csi.example"}, "spec": {"storageCapacity": True}})
    there = from_builtins(
        CSIStorageCapacity,
        {"metadata": {"name": "s", "namespace": "a"}, "storageClassName": "late", "capacity": "5Gi",
         "nodeTopology": {"matchLabels": {ZONE: "x"}}},
    )  # fmt: skip
    snapshot = cluster(claim("c"), storage("late", "csi.example"), driver, there)
    assert fits(pod("p", "c"), snapshot) == ["n1"]
    snapshot = cluster(claim("c", size="6Gi"), storage("late", "csi.example"), driver, there)
    assert why(pod("p", "c"), snapshot) == "0/3 nodes are available: 3 node(s) did not have enough free storage."


def test_a_volume_s_zone_is_its_pod_s_and_a_node_that_says_nothing_will_do() -> None:
    snapshot = cluster(claim("c", "v"), volume("v", labels={ZONE: "y__z"}))
    assert fits(pod("p", "c"), snapshot) == ["n2", "n3"]
    unclear = cluster(claim("c", "v"), volume("v", labels={ZONE: "y__"}))
    assert fits(pod("p", "c"), unclear) == ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    ("said", "here", "suits"),
    [
        ({ZONE: "x"}, {ZONE: "x"}, True),
        ({ZONE: "x"}, {}, True),
        ({ZONE: "x"}, {REGION: "r"}, False),  # it says where it is, and not that it is in the zone
        ({OLD_ZONE: "x"}, {ZONE: "x"}, True),
        ({OLD_ZONE: "x"}, {OLD_ZONE: "x", ZONE: "y"}, True),
        ({ZONE: "x"}, {OLD_ZONE: "x"}, False),
        ({ZONE: "x", REGION: "r"}, {ZONE: "x", REGION: "s"}, False),
    ],
)
def test_places_have_names_of_old_which_only_volumes_of_old_go_by(
    said: dict[str, str], here: dict[str, str], suits: bool
) -> None:
    one = node("n")
    one = replace(one, metadata=replace(one.metadata, labels=here))
    snapshot = cluster(claim("c", "v"), volume("v", labels=said), nodes=(one,))
    assert fits(pod("p", "c"), snapshot) == (["n"] if suits else [])


def test_a_driver_attaches_no_more_volumes_than_it_says_each_counted_once() -> None:
    csi = {"csi": {"driver": "csi.example", "volumeHandle": "h"}}
    limits = from_builtins(
        CSINode,
        {
            "metadata": {"name": "n1"},
            "spec": {"drivers": [{"name": "csi.example", "nodeID": "x", "allocatable": {"count": 1}}]},
        },
    )
    other = {"csi": {"driver": "csi.example", "volumeHandle": "other"}}
    snapshot = cluster(
        limits, claim("c", "v"), claim("d", "w"), volume("v", **csi), volume("w", **other), nodes=(node("n1"),)
    )
    snapshot.add_pod(pod("p", "c", priority=0), "n1")
    assert fits(pod("q", "c"), snapshot) == ["n1"]
    assert why(pod("q", "d"), snapshot) == "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert victims(pod("q", "d", priority=5), snapshot) == ["p"]


def test_a_volume_that_is_still_attached_counts_though_no_pod_uses_it() -> None:
    snapshot = cluster(
        csi_node(limit=1), claim("c", "v"), claim("d", "w"), csi_volume("v"), csi_volume("w"), attachment("v", "n1"),
        attachment("w", "elsewhere"), nodes=(node("n1"),),
    )  # fmt: skip
    assert fits(pod("p", "c"), snapshot) == ["n1"]
    assert why(pod("q", "d"), snapshot) == "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert victims(pod("q", "d", priority=5), snapshot) == []


def test_what_pods_have_attached_is_looked_up_only_where_it_may_be_too_much() -> None:
    class Counting(Known):
        asked = 0

        def get(self, of: Any, name: str, namespace: str = "") -> Any:
            self.asked += of is PersistentVolumeClaim
            return super().get(of, name, namespace)

    claims = [claim(f"c{number}", f"v{number}") for number in range(9)]
    snapshot = cluster(csi_node(limit=8), *claims, *(csi_volume(f"v{number}") for number in range(9)))
    snapshot.view = view = Counting(*snapshot.view.objects.values())  # type: ignore[attr-defined]
    for number in range(7):
        snapshot.add_pod(pod(f"p{number}", f"c{number}"), "n1")
    for full in (False, True):
        before = view.asked
        assert fits(pod("p", "c8"), snapshot) == ["n1", "n2", "n3"]
        assert (view.asked - before >= 8) == full
        snapshot.attachments.changed(None, attachment("v0", "n1"))  # maybe one more, and it is the same
    snapshot.remove_pod("p6")
    assert snapshot.claims_on["n1"] == 6
    snapshot.attachments.changed(attachment("v0", "n1"), None)
    assert snapshot.attachments.count("n1") == 0 and not snapshot.attachments.on_node


def test_a_driver_that_asks_for_it_gets_no_pods_where_it_is_not_installed() -> None:
    driver = {"metadata": {"name": "csi.example"}, "spec": {"preventPodSchedulingIfMissing": True}}
    lenient = {**driver, "spec": {}}
    volumes = (claim("c", "v"), csi_volume("v"), csi_node(limit=1))
    snapshot = cluster(from_builtins(CSIDriver, driver), *volumes)
    assert fits(pod("p", "c"), snapshot) == ["n1"]
    assert fits(pod("p", "c"), cluster(from_builtins(CSIDriver, lenient), *volumes)) == ["n1", "n2", "n3"]
    snapshot.remove_node("n1")
    says = "csi.example CSI driver is not installed on the node"
    assert why(pod("p", "c"), snapshot) == f"0/2 nodes are available: 2 {says}."
    assert victims(pod("p", "c", priority=5), snapshot) == []


def csi_volume(name: str) -> PersistentVolume:
    found: PersistentVolume = volume(name, csi={"driver": "csi.example", "volumeHandle": f"handle-{name}"})
    return found


def csi_node(limit: int) -> CSINode:
    drivers = [{"name": "csi.example", "nodeID": "x", "allocatable": {"count": limit}}]
    return from_builtins(CSINode, {"metadata": {"name": "n1"}, "spec": {"drivers": drivers}})


def attachment(volume: str, node: str) -> VolumeAttachment:
    spec = {"attacher": "csi.example", "nodeName": node, "source": {"persistentVolumeName": volume}}
    return from_builtins(VolumeAttachment, {"metadata": {"name": f"{volume}-{node}"}, "spec": spec})


def victims(wanted: Pod, snapshot: Snapshot) -> list[str]:
    import random

    judgement = judge(wanted, snapshot, DEFAULT_PROFILE)
    about = Refused(judgement, refusal(wanted, judgement, snapshot), Nominations(), lambda ns: (), random.Random(1))
    found = preempt(about).candidate
    return [one.metadata.name or "" for one in found.victims] if found else []


def test_a_claim_for_one_pod_is_one_pod_s_and_a_more_important_one_may_take_it() -> None:
    once = claim("c", "v", mode="ReadWriteOncePod")
    snapshot = cluster(once, volume("v"))
    snapshot.add_pod(pod("p", "c"), "n2")
    says = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
    assert why(pod("q", "c"), snapshot) == f"0/3 nodes are available: 3 {says}."
    assert victims(pod("q", "c", priority=5), snapshot) == ["p"]
    snapshot.remove_pod("p")
    assert len(fits(pod("q", "c"), snapshot)) == 3 and not snapshot.claims


def test_a_disk_that_cannot_be_shared_is_one_pod_s_of_a_node_unless_all_only_read_it() -> None:
    def disk(read_only: bool) -> Any:
        return ({"name": "d", "gcePersistentDisk": {"pdName": "disk", "readOnly": read_only}},)

    snapshot = cluster()
    snapshot.add_pod(pod("p", volumes=disk(True)), "n1")
    assert fits(pod("q", volumes=disk(True)), snapshot) == ["n1", "n2", "n3"]
    assert fits(pod("q", volumes=disk(False)), snapshot) == ["n2", "n3"]
    assert fits(pod("q", volumes=(*disk(False), *disk(True))), snapshot) == ["n2", "n3"]


def test_disks_of_clusters_that_share_a_monitor_are_the_same() -> None:
    def disk(*monitors: str) -> Any:
        return ({"name": "d", "rbd": {"monitors": list(monitors), "pool": "rbd", "image": "i"}},)

    snapshot = cluster()
    snapshot.add_pod(pod("p", volumes=disk("a", "b")), "n1")
    assert fits(pod("q", volumes=disk("b", "c")), snapshot) == ["n2", "n3"]
    assert fits(pod("q", volumes=disk("c")), snapshot) == ["n1", "n2", "n3"]


def test_a_pod_is_bound_once_its_volume_is_made_for_its_node_and_others_do_not_wait() -> None:
    async def story() -> None:
        async with running(nodes=("n1", "n2"), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
            await cluster.settle()
            client = cluster.client
            await client.create(storage("late", "csi.example"))
            mine = replace(claim("c"), status=type(claim("c").status)())
            await client.create(replace(mine, metadata=replace(mine.metadata, namespace="default", uid=None)))
            for name, claims in (("p", ("c",)), ("plain", ())):
                one = pod(name, *claims)
                await client.create(replace(one, metadata=replace(one.metadata, namespace="default", uid=None)))
            await cluster.settle()
            found = {one.metadata.name: one.spec.node_name for one in await client.list(Pod, "default")}
            assert found["plain"] and not found["p"]
            made_for = ((await client.get(PersistentVolumeClaim, "c", "default")).metadata.annotations or {})[
                SELECTED_NODE
            ]
            # What an external provisioner and the volume controller do:
            await client.create(volume("v", on=made_for, hostPath={"path": "/v"}))
            await client.patch(PersistentVolumeClaim, "c", "default", {"spec": {"volumeName": "v"}})
            await client.patch(
                PersistentVolumeClaim, "c", "default", {"status": {"phase": "Bound"}}, subresource="status"
            )
            await cluster.settle()
            assert (await client.get(Pod, "p", "default")).spec.node_name == made_for
            assert not scheduler.snapshot.volumes.nodes
            reasons = [one.reason for one in await client.list(Event, "default")]
            assert reasons.count("Scheduled") == 2
            for task in tasks:
                task.cancel()

    run(story())


# Scores.


def capacity(on: str, amount: str, cls: str = "late") -> Any:
    topology = {"matchLabels": {"kubernetes.io/hostname": on}}
    told = {"metadata": {"name": f"{on}-{cls}", "namespace": "a"}, "storageClassName": cls, "capacity": amount}
    return from_builtins(CSIStorageCapacity, {**told, "nodeTopology": topology})


def scores(snapshot: Snapshot, *claims: str, shape: Any = MUCH_LEFT) -> list[int]:
    plugin = VolumeBinding(shape=shape)
    state = plugin.pre_score(pod("p", *claims), Nodes(snapshot))
    return [] if state is None else plugin.score(state, Nodes(snapshot)).tolist()


def test_a_node_whose_storage_has_more_left_is_better_or_what_the_shape_says() -> None:
    made = storage(provisioner="csi.example.com")
    snapshot = cluster(made, claim("c", size="5Gi"), capacity("n1", "10Gi"), capacity("n2", "20Gi"))
    assert scores(snapshot, "c") == [50, 75, 0]
    assert scores(snapshot, "c", shape=((0, 0), (100, 10))) == [50, 25, 0]
    two = cluster(made, claim("c", size="5Gi"), claim("d", size="3Gi"), capacity("n1", "10Gi"), capacity("n2", "20Gi"))
    assert scores(two, "c", "d") == [20, 60, 0]


def test_where_volumes_are_there_their_sizes_count_and_bound_claims_do_not() -> None:
    there = (volume("v1", size="10Gi", on="n1"), volume("v2", size="5Gi", on="n2"))
    snapshot = cluster(storage(), claim("c", size="5Gi"), *there, capacity("n1", "100Gi"))
    assert scores(snapshot, "c") == [50, 0, 0]
    assert scores(cluster(claim("c", "v"), volume("v", on="n2")), "c") == []
