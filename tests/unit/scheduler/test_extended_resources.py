"""Extended resources that device classes stand for: where they are had, who uses which request, what is written for them;
claims that are given up; taints that rules put on devices."""

from random import Random
from typing import Any

import pytest
from device_objects import DRIVER, LOOPS, claim, cluster, device, exactly, fits, offer
from device_objects import pod as claiming
from known_objects import Known
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.resource_v1 import DeviceClass, DeviceTaintRule, ResourceClaim
from kybern.client.events import Recorder
from kybern.scheduler.extended_resources import class_for, made_for
from kybern.scheduler.judgement import Judge, judge
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.plugins.dynamic_resources import DynamicResources
from kybern.scheduler.preemption import Refused
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.testing.cluster import running
from kybern.testing.virtual import run

GPU = "example.com/gpu"


def stands_for(resource: str = GPU, name: str = "gpu", created: str = "2026-01-01T00:00:00Z") -> DeviceClass:
    told = [{"cel": {"expression": f'device.driver == "{DRIVER}"'}}]
    meta = {"name": name, "creationTimestamp": created}
    return from_builtins(DeviceClass, {"metadata": meta, "spec": {"selectors": told, "extendedResourceName": resource}})


def asking(*counts: int, init: tuple[tuple[str, int], ...] = (), resource: str = GPU, name: str = "p") -> Pod:
    def one(title: str, count: int, **more: Any) -> dict[str, Any]:
        amounts = {resource: str(count), "cpu": "1"} if count else {"cpu": "1"}
        return {"name": title, "image": "i", "resources": {"requests": amounts, "limits": amounts}, **more}

    inits = [
        one(title.removesuffix("*"), count, **({"restartPolicy": "Always"} if title.endswith("*") else {}))
        for title, count in init
    ]
    containers = [one(f"c{number}", count) for number, count in enumerate(counts)]
    return from_builtins(
        Pod,
        {
            "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"containers": containers, "initContainers": inits},
        },
    )


def with_plugin(snapshot: Snapshot, name: str, count: int) -> None:
    """A node whose device plugin has the resource."""
    found = snapshot.nodes[snapshot.rows[name]]
    amounts = {**(found.status.allocatable or {}), GPU: str(count)}
    told = {"metadata": {"name": name, "labels": dict(found.metadata.labels or {})}, "status": {"allocatable": amounts}}
    snapshot.set_node(from_builtins(Node, told))


def test_a_resource_that_a_class_stands_for_is_had_where_its_devices_are() -> None:
    offers = (offer("n1", device("g0")), offer("n2", device("g0"), device("g1")))
    assert fits(cluster(*offers), asking(1)) == []
    assert fits(cluster(*offers, stands_for()), asking(1)) == ["n1", "n2"]
    assert fits(cluster(*offers, stands_for()), asking(1, 1)) == ["n2"]
    by_name = asking(2, resource="deviceclass.resource.kubernetes.io/gpu")
    assert fits(cluster(*offers), by_name) == ["n2"]
    none = asking(1, resource="deviceclass.resource.kubernetes.io/nobody")
    assert fits(cluster(*offers), none) == []


def test_a_node_whose_device_plugin_has_the_resource_is_judged_by_that_alone() -> None:
    snapshot = cluster(offer("n1", device("g0"), device("g1")), offer("n2", device("g0")), stands_for())
    with_plugin(snapshot, "n1", 1)
    assert fits(snapshot, asking(1)) == ["n1", "n2"] and fits(snapshot, asking(2)) == []
    wanted = asking(2)
    found = refusal(wanted, judge(wanted, snapshot, DEFAULT_PROFILE), snapshot)
    assert found.available == ("0/2 nodes are available: 1 Insufficient example.com/gpu, 1 cannot allocate all claims.")


def test_of_classes_that_stand_for_one_resource_the_newest_counts_then_the_first_by_name() -> None:
    old, new = stands_for(name="a"), stands_for(name="z", created="2026-02-01T00:00:00Z")
    assert class_for(GPU, Known(old, new)) == "z"
    assert class_for(GPU, Known(stands_for(name="z"), stands_for(name="a"))) == "a"
    assert class_for("cpu", Known(stands_for("cpu"))) == ""


@pytest.mark.parametrize(
    ("pod", "requests", "mappings"),
    [
        (asking(2, 0, 1), {"container-0-request-1": 2, "container-2-request-1": 1},
         {("c0", "container-0-request-1"), ("c2", "container-2-request-1")}),
        (asking(2, init=(("first", 2),)), {"container-1-request-1": 2},
         {("c0", "container-1-request-1"), ("first", "container-1-request-1")}),
        (asking(1, init=(("first", 2), ("second", 4))), {"container-1-request-1": 3, "container-2-request-1": 1},
         {("c0", "container-2-request-1"), ("first", "container-2-request-1"), ("second", "container-2-request-1"),
          ("first", "container-1-request-1"), ("second", "container-1-request-1")}),
        (asking(1, init=(("side*", 1), ("late", 2))), {"container-0-request-1": 1, "container-1-request-1": 1,
                                                       "container-2-request-1": 1},
         {("side", "container-0-request-1"), ("late", "container-1-request-1"), ("late", "container-2-request-1"),
          ("c0", "container-2-request-1")}),
    ],
)  # fmt: skip
def test_who_uses_which_request(pod: Pod, requests: dict[str, int], mappings: set[tuple[str, str]]) -> None:
    made = made_for(pod, {GPU: "gpu"})
    found = made.claim.spec.devices.requests or ()  # type: ignore[union-attr]
    assert {one.name: one.exactly.count for one in found} == requests  # type: ignore[union-attr]
    assert {(one.container_name, one.request_name) for one in made.mappings} == mappings


def test_a_class_that_comes_places_the_pod_and_its_claim_goes_with_it() -> None:
    async def story() -> None:
        async with running(nodes=("n1",), loops=LOOPS) as cluster:
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, Recorder(
                cluster.client, "default-scheduler", "", cluster.clock, cluster.ids))  # fmt: skip
            task = cluster.tasks.create_task(scheduler.run())
            await cluster.settle()
            client = cluster.client
            await client.create(offer("n1", device("g0"), device("g1")))
            wanted = asking(1)
            told = from_builtins(Pod, {"metadata": {"name": "p", "namespace": "default"}})
            await client.create(Pod(metadata=told.metadata, spec=wanted.spec))
            await cluster.settle()
            assert not (await client.get(Pod, "p", "default")).spec.node_name
            await client.create(stands_for())
            await cluster.settle()
            bound = await client.get(Pod, "p", "default")
            assert bound.spec.node_name == "n1"
            status = bound.status.extended_resource_claim_status
            assert status is not None and status.resource_claim_name.startswith("p-extended-resources-")
            (mapping,) = status.request_mappings
            assert (mapping.container_name, mapping.resource_name) == ("c0", GPU)
            made = await client.get(ResourceClaim, status.resource_claim_name, "default")
            assert (made.metadata.owner_references or ())[0].uid == bound.metadata.uid
            assert "resource.kubernetes.io/delete-protection" in (made.metadata.finalizers or ())
            (result,) = made.status.allocation.devices.results  # type: ignore[union-attr,misc]
            assert (result.device, result.request) == ("g0", mapping.request_name)
            assert (made.status.reserved_for or ())[0].uid == bound.metadata.uid
            assert not scheduler.snapshot.devices
            await client.delete(Pod, "p", "default")
            await cluster.settle()
            assert await client.list(ResourceClaim, "default") == []
            task.cancel()

    run(story())


def test_judgements_are_kept_while_no_class_changes() -> None:
    snapshot = cluster(offer("n1", device("g0")), stands_for())
    judging = Judge(snapshot, DEFAULT_PROFILE)
    assert judging(asking(1)).kept is judging(asking(1, name="q")).kept


# Giving up.


def post_filtered(snapshot: Snapshot, pod: Pod) -> Any:
    (plugin,) = [one for one in DEFAULT_PROFILE.filters if isinstance(one, DynamicResources)]
    judgement = judge(pod, snapshot, DEFAULT_PROFILE)
    why = refusal(pod, judgement, snapshot)
    return plugin.post_filter(Refused(judgement, why, Nominations(), lambda namespace: (), Random(1))).writes


def tied(*users: str) -> Any:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    reserved = [{"resource": "pods", "name": user, "uid": user} for user in users]
    allocation = {"nodeSelector": {"nodeSelectorTerms": [term]}}
    return claim(exactly(), status={"allocation": allocation, "reservedFor": reserved})


@pytest.mark.parametrize(("users", "given_up"), [((), True), (("p",), True), (("q",), False), (("p", "q"), False)])
def test_a_claim_that_nobody_else_uses_is_given_up_where_its_pod_fits_no_more(
    users: tuple[str, ...], given_up: bool
) -> None:
    snapshot = cluster(tied(*users), offer("n2", device("g0")))
    snapshot.set_node(from_builtins(Node, {"metadata": {"name": "n2"}, "spec": {"unschedulable": True}}))
    writes = post_filtered(snapshot, claiming())
    assert bool(writes) == given_up
    if given_up:
        ((subresource, freed),) = writes
        assert subresource == "status" and freed.status.allocation is None and freed.status.reserved_for is None


def test_a_claim_for_extended_resources_that_an_unbound_attempt_left_is_deleted() -> None:
    wanted = asking(1)
    left = made_for(wanted, {GPU: "gpu"}).claim
    left = replace(left, metadata=replace(left.metadata, name="left", uid="left", finalizers=("x/y",)))
    snapshot = cluster(left, offer("n1", device("g0")), stands_for())
    found = refusal(wanted, judge(wanted, snapshot, DEFAULT_PROFILE), snapshot)
    assert found.available == "0/2 nodes are available: cannot schedule extended resource claim."
    (write,) = post_filtered(snapshot, wanted)
    (deleted,) = write.writes(left)
    assert (deleted.name, deleted.uid) == ("left", "left")


# Taints by rules.


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"driver": DRIVER, "pool": "n1"}, ["n2"]),
        ({"device": "g0"}, []),
        ({"driver": "other.example.com"}, ["n1", "n2"]),
        (None, ["n1", "n2"]),
    ],
)
def test_a_taint_that_a_rule_puts_on_devices_keeps_claims_from_them(selector: Any, expected: list[str]) -> None:
    taint = {"key": "broken", "effect": "NoSchedule"}
    spec = {"taint": taint, **({"deviceSelector": selector} if selector is not None else {})}
    rule = from_builtins(DeviceTaintRule, {"metadata": {"name": "r"}, "spec": spec})
    offers = (offer("n1", device("g0")), offer("n2", device("g0")))
    assert fits(cluster(rule, claim(exactly()), *offers)) == expected
    tolerant = exactly("r", tolerations=[{"key": "broken", "operator": "Exists"}])
    assert fits(cluster(rule, claim(tolerant), *offers)) == ["n1", "n2"]
