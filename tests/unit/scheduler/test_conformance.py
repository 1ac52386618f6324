"""What upstream's conformance tests of the scheduler ask for, on a simulated cluster with the real API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kybern.api.apps_v1 import ReplicaSet
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Node, Pod
from kybern.api.scheduling_v1 import PriorityClass
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.scheduler import Scheduler
from kybern.testing.cluster import Cluster, running
from kybern.testing.virtual import run

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")
PROFILES = (
    DEFAULT_PROFILE,
    Profile(scheduler_name="mine", filters=DEFAULT_PROFILE.filters, scorers=DEFAULT_PROFILE.scorers),
)


@asynccontextmanager
async def scheduled(*nodes: str) -> AsyncIterator[Cluster]:
    async with running(nodes=nodes, loops=LOOPS) as cluster:
        events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
        scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events, PROFILES)
        tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
        try:
            await cluster.settle()
            for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
                metadata = {"name": name}
                await cluster.client.create(from_builtins(PriorityClass, {"metadata": metadata, "value": value}))
            yield cluster
        finally:
            for task in tasks:
                task.cancel()


def pod(name: str, cpu: str = "100m", namespace: str = "default", **more: Any) -> Pod:
    metadata = {"name": name, "namespace": namespace, **more.pop("metadata", {})}
    requests = {"cpu": cpu, **more.pop("requests", {})}
    resources = {"requests": requests, "limits": {key: value for key, value in requests.items() if "/" in key}}
    container = {"name": "c", "image": "pause", "resources": resources, "ports": more.pop("ports", [])}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **more}})


async def placed(cluster: Cluster) -> dict[str, str]:
    return {one.metadata.name or "": one.spec.node_name or "" for one in await cluster.client.list(Pod)}


async def told(cluster: Cluster, reason: str) -> list[tuple[str, str]]:
    events: list[Any] = list(await cluster.client.list(Event))
    return [(event.involved_object.name, event.message) for event in events if event.reason == reason]


async def offer(cluster: Cluster, node: str, resource: str, amount: str) -> None:
    status = {"capacity": {resource: amount}, "allocatable": {resource: amount}}
    await cluster.client.patch(Node, node, "", {"status": status}, how="strategic", subresource="status")


def test_what_fills_a_node_leaves_no_room_for_more() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as cluster:
            for number in (1, 2):
                await cluster.client.create(pod(f"filler-{number}", "5600m"))
            await cluster.settle()
            await cluster.client.create(pod("additional", "4"))
            await asyncio.sleep(5)
            found = await placed(cluster)
            assert found["additional"] == "" and {found["filler-1"], found["filler-2"]} == {"n1", "n2"}
            ((name, message),) = await told(cluster, "FailedScheduling")
            assert name == "additional" and message.startswith("0/2 nodes are available: 2 Insufficient cpu. ")

    run(story())


def test_a_node_selector_and_a_node_affinity_are_respected_and_a_label_that_comes_wakes() -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as cluster:
            field = {"key": "metadata.name", "operator": "In", "values": ["n2"]}
            terms = {"nodeSelectorTerms": [{"matchFields": [field]}]}
            named = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
            await cluster.client.create(pod("by-field", affinity=named))
            await cluster.client.create(pod("by-label", nodeSelector={"e2e": "42"}))
            await asyncio.sleep(5)
            assert await placed(cluster) == {"by-field": "n2", "by-label": ""}
            (_, message) = (await told(cluster, "FailedScheduling"))[0]
            assert message == (
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. "
                "no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
            )
            await cluster.client.patch(Node, "n1", "", {"metadata": {"labels": {"e2e": "42"}}})
            await asyncio.sleep(5)
            assert (await placed(cluster))["by-label"] == "n1"

    run(story())


def test_host_ports_are_kept_by_address_port_and_protocol() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            wanted = (("a", "127.0.0.1", "TCP"), ("b", "10.0.0.1", "TCP"), ("c", "10.0.0.1", "UDP"))
            for name, address, protocol in wanted:
                port = {"containerPort": 8080, "hostPort": 54321, "hostIP": address, "protocol": protocol}
                await cluster.client.create(pod(name, ports=[port]))
            await cluster.settle()
            every = {"containerPort": 8080, "hostPort": 54321, "protocol": "TCP"}
            await cluster.client.create(pod("d", ports=[every]))
            await asyncio.sleep(5)
            assert await placed(cluster) == {"a": "n1", "b": "n1", "c": "n1", "d": ""}
            (_, message) = (await told(cluster, "FailedScheduling"))[0]
            assert message.startswith(
                "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. "
            )
            await cluster.client.delete(Pod, "a", "default")
            await asyncio.sleep(5)
            assert (await placed(cluster))["d"] == ""
            await cluster.client.delete(Pod, "b", "default")
            await asyncio.sleep(15)
            assert (await placed(cluster))["d"] == "n1"

    run(story())


@pytest.mark.parametrize("critical", [False, True])
def test_the_least_important_pod_makes_room(critical: bool) -> None:
    async def story() -> None:
        async with scheduled("n1", "n2") as cluster:
            for node in ("n1", "n2"):
                await offer(cluster, node, "scheduling.k8s.io/foo", "5")
            one = {"scheduling.k8s.io/foo": "2"}
            for number, priority in enumerate(("low", "medium", "medium", "medium")):
                await cluster.client.create(pod(f"p{number}", requests=one, priorityClassName=priority))
            await cluster.settle()
            assert sorted((await placed(cluster)).values()) == ["n1", "n1", "n2", "n2"]
            namespace = "kube-system" if critical else "default"
            priority = "system-cluster-critical" if critical else "high"
            await cluster.client.create(pod("preemptor", "100m", namespace, requests=one, priorityClassName=priority))
            await cluster.settle(quiet_seconds=10)
            found = await placed(cluster)
            assert found.keys() == {"p1", "p2", "p3", "preemptor"} and all(found.values())
            uid = (await cluster.client.get(Pod, "preemptor", namespace)).metadata.uid
            assert await told(cluster, "Preempted") == [("p0", f"Preempted by pod {uid} on node {found['preemptor']}")]
            waiting = [message for name, message in await told(cluster, "FailedScheduling") if name == "preemptor"]
            assert waiting[0] == "0/2 nodes are available: 2 Insufficient scheduling.k8s.io/foo."

    run(story())


def test_a_preempted_pod_says_so_while_something_holds_it_and_the_room_stays_promised() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            held = pod("victim", "6", priorityClassName="low", metadata={"finalizers": ["example.com/hold"]})
            await cluster.client.create(held)
            await cluster.settle()
            await cluster.client.create(pod("preemptor", "6", priorityClassName="high"))
            await asyncio.sleep(20)
            victim = await cluster.client.get(Pod, "victim", "default")
            (condition,) = [c for c in victim.status.conditions or () if c.type == "DisruptionTarget"]
            assert (condition.status, condition.reason) == ("True", "PreemptionByScheduler")
            assert victim.metadata.deletion_timestamp is not None
            preemptor = await cluster.client.get(Pod, "preemptor", "default")
            assert (preemptor.spec.node_name, preemptor.status.nominated_node_name) == (None, "n1")
            await cluster.client.create(pod("sneaky", "3", priorityClassName="low"))
            free = [{"op": "remove", "path": "/metadata/finalizers"}]
            await cluster.client.patch(Pod, "victim", "default", free, how="json")
            await asyncio.sleep(30)
            assert await placed(cluster) == {"preemptor": "n1", "sneaky": ""}
            preemptor = await cluster.client.get(Pod, "preemptor", "default")
            assert not preemptor.status.nominated_node_name

    run(story())


def replicaset(name: str, replicas: int, units: int, priority: str) -> ReplicaSet:
    template = pod("t", "1m", requests={"example.com/fakecpu": str(units)}, priorityClassName=priority)
    labels = {"name": name}
    return from_builtins(
        ReplicaSet,
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": template.spec},
            },
        },
    )  # fmt: skip


def test_a_chain_of_replicasets_is_preempted_no_more_than_it_must() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            await offer(cluster, "n1", "example.com/fakecpu", "1000")
            for name, replicas, units, priority in (("rs1", 1, 200, "low"), ("rs2", 1, 300, "medium")):
                await cluster.client.create(replicaset(name, replicas, units, priority))
            await cluster.client.create(replicaset("rs3", 1, 450, "high"))
            await cluster.settle(quiet_seconds=10)
            assert all((await placed(cluster)).values())
            last = pod("rs4", "1m", requests={"example.com/fakecpu": "500"}, priorityClassName="high")
            await cluster.client.create(last)
            await cluster.settle(quiet_seconds=20)
            preempted = sorted(name[:3] for name, _ in await told(cluster, "Preempted"))
            assert preempted == ["rs1", "rs2"]
            found = await placed(cluster)
            assert {name[:3]: bool(node) for name, node in found.items()} == {
                "rs1": False, "rs2": False, "rs3": True, "rs4": True,
            }  # fmt: skip

    run(story())


def test_a_gated_pod_says_so_and_goes_when_the_last_gate_is_gone() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            await cluster.client.create(pod("gated", schedulingGates=[{"name": "a.b/c"}]))
            await asyncio.sleep(10)
            gated = await cluster.client.get(Pod, "gated", "default")
            (condition,) = [c for c in gated.status.conditions or () if c.type == "PodScheduled"]
            assert (condition.reason, gated.spec.node_name) == ("SchedulingGated", None)
            open_gate = [{"op": "remove", "path": "/spec/schedulingGates/0"}]
            await cluster.client.patch(Pod, "gated", "default", open_gate, how="json")
            await asyncio.sleep(5)
            assert await placed(cluster) == {"gated": "n1"}

    run(story())


def test_each_scheduler_name_has_its_profile_and_a_stranger_s_pod_waits() -> None:
    async def story() -> None:
        async with scheduled("n1") as cluster:
            await cluster.client.create(pod("a", schedulerName="mine"))
            await cluster.client.create(pod("b", schedulerName="not-there"))
            await asyncio.sleep(5)
            assert await placed(cluster) == {"a": "n1", "b": ""}

    run(story())
