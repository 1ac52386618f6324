"""Devices for pods that claim them: by value, by the rules of classes, selectors, constraints, counters and taints."""

from typing import Any

import pytest
from device_objects import DRIVER, LOOPS, claim, cluster, device, exactly, fits, of_class, offer, pod

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Pod
from kybern.api.resource_v1 import ResourceClaim
from kybern.client.events import Recorder
from kybern.scheduler.judgement import judge
from kybern.scheduler.plugins.dynamic_resources import DynamicResources
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.refusal import refusal
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.testing.cluster import running
from kybern.testing.virtual import run


def why(snapshot: Snapshot) -> str:
    return refusal(pod(), judge(pod(), snapshot, DEFAULT_PROFILE), snapshot).available


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (exactly(), ["n1", "n2"]),
        (exactly("r", f'device.attributes["{DRIVER}"].model == "b"'), ["n2"]),
        (exactly("r", f'device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'), ["n2"]),
        (exactly("r", f'device.attributes["{DRIVER}"].version.isGreaterThan(semver("1.2.0"))'), ["n1", "n2"]),
        (exactly("r", 'device.attributes["nobody.example"].x == 1'), []),
        (exactly("r", "this is no expression"), []),
        (exactly(count=2), ["n1"]),
        (exactly(allocationMode="All"), ["n1", "n2"]),
        ({"name": "r", "firstAvailable": [{"name": "three", "deviceClassName": "gpu", "count": 3},
                                          {"name": "two", "deviceClassName": "gpu", "count": 2}]}, ["n1"]),
    ],
)  # fmt: skip
def test_where_the_devices_of_a_request_are(request_: dict[str, Any], expected: list[str]) -> None:
    snapshot = cluster(claim(request_), offer("n1", device("g0"), device("g1")), offer("n2", device("g0", "b", "80Gi")))
    assert fits(snapshot) == expected


def test_devices_are_given_once_and_come_back_when_the_pod_is_not_bound() -> None:
    snapshot = cluster(claim(exactly()), claim(exactly(), name="d"), offer("n1", device("g0")))
    plugin = DynamicResources()
    assert plugin.reserve(pod(), "n1", snapshot) == ""
    (result,) = snapshot.devices["claim-c"].devices.results  # type: ignore[union-attr,misc]
    assert (result.request, result.driver, result.pool, result.device) == ("r", DRIVER, "n1", "g0")
    assert fits(snapshot, pod("q", "d")) == [] and fits(snapshot) == ["n1"]
    (guarded,) = plugin.writes(pod(), "n1", snapshot)
    assert guarded.obj.metadata.finalizers == ("resource.kubernetes.io/delete-protection",)
    ((subresource, written),) = guarded.writes(guarded.obj)
    assert subresource == "status" and written.status.reserved_for[0].uid == "p"
    plugin.unreserve(pod(), "n1", snapshot)
    assert fits(snapshot, pod("q", "d")) == ["n1"]


def test_a_claim_with_devices_ties_its_pod_to_them_and_what_is_missing_is_said() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    allocated = {"allocation": {"nodeSelector": {"nodeSelectorTerms": [term]}}}
    assert fits(cluster(claim(exactly(), status=allocated))) == ["n2"]
    assert why(cluster()) == '0/2 nodes are available: resourceclaim "c" not found.'
    assert why(cluster(claim(exactly()))) == "0/2 nodes are available: 2 cannot allocate all claims."
    says = "request r: device class other does not exist"
    assert why(cluster(claim(exactly(cls="other")))) == f"0/2 nodes are available: 2 {says}."


def test_constraints_hold_between_the_requests_that_they_name() -> None:
    two = (exactly("x"), exactly("y"))
    same = {"constraints": [{"requests": ["x", "y"], "matchAttribute": f"{DRIVER}/model"}]}
    other = {"constraints": [{"distinctAttribute": f"{DRIVER}/model"}]}
    mixed, alike = offer("n1", device("g0", "a"), device("g1", "b")), offer("n2", device("g0", "a"), device("g1", "a"))
    assert fits(cluster(claim(*two, **same), mixed, alike)) == ["n2"]
    assert fits(cluster(claim(*two, **other), mixed, alike)) == ["n1"]


def test_parts_of_one_device_share_its_counters() -> None:
    counters = {"sharedCounters": [{"name": "gpu0", "counters": {"memory": {"value": "80Gi"}}}]}

    def part(name: str, memory: str) -> dict[str, Any]:
        return device(name, consumesCounters=[{"counterSet": "gpu0", "counters": {"memory": {"value": memory}}}])

    parts = (part("whole", "80Gi"), part("half-0", "40Gi"), part("half-1", "40Gi"))
    assert fits(cluster(claim(exactly(count=2)), offer("n1", *parts, **counters))) == ["n1"]
    assert fits(cluster(claim(exactly(count=3)), offer("n1", *parts, **counters))) == []


def test_tainted_devices_are_for_those_who_tolerate_it() -> None:
    bad = device("g0", taints=[{"key": "broken", "effect": "NoExecute"}])
    assert fits(cluster(claim(exactly()), offer("n1", bad))) == []
    assert fits(cluster(claim(exactly(tolerations=[{"key": "broken", "operator": "Exists"}])), offer("n1", bad))) == [
        "n1"
    ]


def test_a_pool_counts_in_its_newest_generation_once_it_is_complete_and_on_the_nodes_it_names() -> None:
    old, new = offer("n1", device("g0")), offer("n1", generation=2, count=1)
    assert fits(cluster(claim(exactly()), old, new)) == []
    assert fits(cluster(claim(exactly()), offer("n1", device("g0"), count=2))) == []
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}
    shared = offer("rack", device("g0"), nodeSelector={"nodeSelectorTerms": [term]})
    assert fits(cluster(claim(exactly()), shared)) == ["n2"]
    assert fits(cluster(claim(exactly()), offer("rack", device("g0"), allNodes=True))) == ["n1", "n2"]


def test_a_thousand_devices_that_cannot_be_combined_cost_a_bounded_time() -> None:
    odd = [device(f"g{number}", model=str(number)) for number in range(60)]
    same = {"constraints": [{"matchAttribute": f"{DRIVER}/model"}]}
    wanted = claim(*(exactly(f"r{number}") for number in range(20)), **same)
    assert fits(cluster(wanted, offer("n1", *odd))) == []


def test_a_claim_s_devices_are_written_before_its_pod_is_bound() -> None:
    async def story() -> None:
        async with running(nodes=("n1", "n2"), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
            await cluster.settle()
            client = cluster.client
            for obj in (of_class(), offer("n2", device("g0"))):
                await client.create(obj)
            for name in ("c", "d"):
                wanted = claim(exactly(), name=name)
                await client.create(from_builtins(ResourceClaim, {
                    "metadata": {"name": name, "namespace": "default"},
                    "spec": {"devices": {"requests": [exactly()]}},
                }))  # fmt: skip
                assert wanted.metadata.name == name
                one = pod(f"p-{name}", name)
                await client.create(from_builtins(Pod, {
                    "metadata": {"name": f"p-{name}", "namespace": "default"},
                    "spec": {"containers": [{"name": "c", "image": "i"}],
                             "resourceClaims": [{"name": name, "resourceClaimName": name}]},
                }))  # fmt: skip
                assert one.spec.resource_claims
                await cluster.settle()
            found = {one.metadata.name: one.spec.node_name for one in await client.list(Pod, "default")}
            assert sorted(str(where) for where in found.values()) == ["None", "n2"]
            written = [await client.get(ResourceClaim, name, "default") for name in ("c", "d")]
            given = [one for one in written if one.status.allocation is not None]
            assert len(given) == 1 and (given[0].status.reserved_for or ())[0].resource == "pods"
            assert not scheduler.snapshot.devices
            for task in tasks:
                task.cancel()

    run(story())


# Shared devices


def shared(name: str = "g0", memory: str = "8Gi", **policy: Any) -> dict[str, Any]:
    capacity = {"memory": {"value": memory, **({"requestPolicy": policy} if policy else {})}}
    return {**device(name), "allowMultipleAllocations": True, "capacity": capacity}


def part(memory: str = "", **more: Any) -> dict[str, Any]:
    return exactly("r", **({"capacity": {"requests": {"memory": memory}}} if memory else {}), **more)


def takes(claim_: Any, snapshot: Snapshot, name: str = "c") -> Any:
    """What a claim's pod is given, in the words of the claim's status."""
    snapshot.view.objects[type(claim_), "a", name] = claim_  # type: ignore[attr-defined]
    if DynamicResources().reserve(pod(name, name), "n1", snapshot):
        return None
    return [dict(one.consumed_capacity or {}) for one in snapshot.devices[f"claim-{name}"].devices.results]  # type: ignore[union-attr]


def test_a_device_that_can_be_shared_is_given_to_claims_until_its_capacity_is_used_up() -> None:
    snapshot = cluster(offer("n1", shared()))
    assert takes(claim(part("3Gi"), name="a"), snapshot, "a") == [{"memory": "3Gi"}]
    assert takes(claim(part("5Gi"), name="b"), snapshot, "b") == [{"memory": "5Gi"}]
    assert takes(claim(part("1Gi"), name="c"), snapshot, "c") is None
    first, second = (snapshot.devices[f"claim-{name}"].devices.results[0] for name in "ab")  # type: ignore[union-attr,index]
    assert first.device == second.device and first.share_id != second.share_id
    DynamicResources().unreserve(pod("a", "a"), "n1", snapshot)
    assert takes(claim(part("3Gi"), name="c"), snapshot, "c") == [{"memory": "3Gi"}]


def test_what_claims_have_of_a_shared_device_counts() -> None:
    given = {
        "request": "r",
        "driver": DRIVER,
        "pool": "n1",
        "device": "g0",
        "consumedCapacity": {"memory": "6Gi"},
        "shareID": "1",
    }
    held = claim(part("6Gi"), name="held", status={"allocation": {"devices": {"results": [given]}}})
    snapshot = cluster(held, claim(part("3Gi")), offer("n1", shared()))
    assert fits(snapshot) == []
    snapshot = cluster(held, claim(part("2Gi")), offer("n1", shared()))
    assert fits(snapshot) == ["n1"]


@pytest.mark.parametrize(
    ("asked", "policy", "given"),
    [
        ("", {}, "8Gi"),
        ("", {"default": "1Gi"}, "1Gi"),
        ("3Gi", {"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, "4Gi"),
        ("5Gi", {"default": "1Gi", "validValues": ["1Gi", "4Gi"]}, None),
        ("100Mi", {"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}, "1Gi"),
        ("1500Mi", {"default": "1Gi", "validRange": {"min": "1Gi", "step": "1Gi"}}, "2Gi"),
        ("3Gi", {"default": "1Gi", "validRange": {"min": "1Gi", "max": "2Gi"}}, None),
        ("9Gi", {}, None),
    ],
)
def test_a_request_takes_what_the_device_s_policy_rounds_it_up_to(asked: str, policy: Any, given: str | None) -> None:
    found = takes(claim(part(asked)), cluster(offer("n1", shared(**policy))))
    assert found == (None if given is None else [{"memory": given}])


def test_one_request_may_have_several_parts_of_a_shared_device() -> None:
    assert takes(claim(part("4Gi", count=2)), cluster(offer("n1", shared()))) == [{"memory": "4Gi"}, {"memory": "4Gi"}]
    assert takes(claim(part("4Gi", count=3)), cluster(offer("n1", shared()))) is None


def test_a_device_for_one_claim_only_must_have_what_a_request_wants_and_is_given_whole() -> None:
    snapshot = cluster(offer("n1", device("g0", memory="8Gi"), device("g1", memory="80Gi")))
    assert takes(claim(part("40Gi")), snapshot) == [{}]
    (result,) = snapshot.devices["claim-c"].devices.results  # type: ignore[union-attr,misc]
    assert (result.device, result.share_id) == ("g1", None)
    assert takes(claim(exactly("r", capacity={"requests": {"cores": "1"}}), name="d"), snapshot, "d") is None


# Devices that have to be made ready first.


@pytest.mark.parametrize(("condition", "bound"), [("attached", True), ("broken", False)])
def test_a_pod_is_bound_once_its_device_is_ready_and_another_one_is_tried_where_it_failed(
    condition: str, bound: bool
) -> None:
    async def story() -> None:
        async with running(nodes=("n1",), loops=LOOPS) as cluster:
            events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
            scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events)
            tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
            await cluster.settle()
            client = cluster.client
            slow = device("g0", bindingConditions=["attached"], bindingFailureConditions=["broken"], bindsToNode=True)
            for obj in (of_class(), offer("n1", slow)):
                await client.create(obj)
            await client.create(from_builtins(ResourceClaim, {
                "metadata": {"name": "c", "namespace": "default"}, "spec": {"devices": {"requests": [exactly()]}},
            }))  # fmt: skip
            await client.create(from_builtins(Pod, {
                "metadata": {"name": "p", "namespace": "default"},
                "spec": {"containers": [{"name": "c", "image": "i"}],
                         "resourceClaims": [{"name": "c", "resourceClaimName": "c"}]},
            }))  # fmt: skip
            await cluster.advance(20)
            assert not (await client.get(Pod, "p", "default")).spec.node_name
            given = await client.get(ResourceClaim, "c", "default")
            (result,) = given.status.allocation.devices.results  # type: ignore[union-attr,misc]
            assert result.binding_conditions == ("attached",)
            told = {"type": condition, "status": "True", "reason": "R", "message": "", "lastTransitionTime": T}
            made = {"driver": DRIVER, "pool": "n1", "device": "g0", "conditions": [told]}
            await client.patch(ResourceClaim, "c", "default", {"status": {"devices": [made]}}, subresource="status")
            await cluster.advance(4)
            assert bool((await client.get(Pod, "p", "default")).spec.node_name) == bound
            if not bound:  # the claim was given up, and given the device anew
                assert any("broken" in (one.message or "") for one in await client.list(Event, "default"))
                await cluster.advance(30)
                again = await client.get(ResourceClaim, "c", "default")
                assert not again.status.devices
            for task in tasks:
                task.cancel()

    run(story())


T = "2026-01-01T00:00:00Z"
