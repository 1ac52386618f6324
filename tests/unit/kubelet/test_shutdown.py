"""A node that is shut down in good order, and one that makes room for a critical pod."""

from typing import Any

import pytest

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.shape import Quantity
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.configuration import configured
from kybern.kubelet.preemption import victims
from kybern.kubelet.shutdown import ShutdownPolicy, grouped

HEAD = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
CRITICAL = 2_000_000_000


def condition(pod: Pod, kind: str) -> str:
    return next((c.status for c in pod.status.conditions or () if c.type == kind), "")


def test_pods_end_in_groups_the_critical_ones_last_and_new_ones_are_refused(lab: Any) -> None:
    async def scenario() -> None:
        policy = ShutdownPolicy(whole_seconds=30.0, critical_seconds=10.0)
        async with lab.cluster(shutdown=policy) as cluster:
            cluster.api.bind(lab.pod("plain"))
            cluster.api.bind(lab.pod("critical", priority=CRITICAL))
            for name in ("plain", "critical"):
                await cluster.phase(name, "Running")
            await cluster.kubelet.shut_down()
            for name in ("plain", "critical"):
                ended = cluster.api.pod(name)
                assert (ended.status.phase, ended.status.reason) == ("Failed", "Terminated")
                assert ended.status.message == "Pod was terminated in response to imminent node shutdown."
                assert condition(ended, "DisruptionTarget") == "True"
            cluster.api.bind(lab.pod("late"))
            await cluster.phase("late", "Failed")
            late = cluster.api.pod("late").status
            assert (late.reason, late.message) == (
                "NodeShutdown",
                "Pod was rejected: Pod was rejected as the node is shutting down.",
            )
            node = cluster.api.objects["/api/v1/nodes/n1"]
            await cluster.until(lambda: "node is shutting down" in str(cluster.api.objects["/api/v1/nodes/n1"]))
            assert node["status"]

    lab.simulate(scenario)


def test_without_a_period_nothing_ends_before_the_node_does(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(lab.pod("a"))
            await cluster.phase("a", "Running")
            await cluster.kubelet.shut_down()
            assert cluster.api.pod("a").status.phase == "Running"

    lab.simulate(scenario)


def test_groups_go_by_priority() -> None:
    policy = ShutdownPolicy(priorities=((1000, 20.0), (0, 30.0), (CRITICAL, 5.0)))
    assert policy.total_seconds == 55
    assert grouped(policy, ["a", "b", "c", "d"], [-5, 999, 1000, CRITICAL]) == [
        (30.0, ["a", "b"]),
        (20.0, ["c"]),
        (5.0, ["d"]),
    ]


def test_the_periods_are_set_in_the_kubelets_configuration() -> None:
    def read(text: str) -> ShutdownPolicy:
        return configured(KubeletConfig(node_name="n"), HEAD + text).shutdown

    assert read("shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 10s").groups == (
        (0, 20.0),
        (CRITICAL, 10.0),
    )
    assert read("shutdownGracePeriodByPodPriority: [{priority: 5, shutdownGracePeriodSeconds: 7}]").groups == (
        (5, 7.0),
    )
    for wrong in ("shutdownGracePeriod: 500ms", "shutdownGracePeriod: 5s\nshutdownGracePeriodCriticalPods: 10s"):
        with pytest.raises(ValueError, match=r"at least 1 sec|must be <="):
            read(wrong)


# Making room.


def wants(lab: Any, name: str, cpu: str, *, limit: bool = False, memory: str = "", **spec: Any) -> Pod:
    found = {key: Quantity(text) for key, text in (("cpu", cpu), ("memory", memory)) if text}
    resources = ResourceRequirements(requests=found, limits=found if limit else None)
    made: Pod = lab.pod(name, Container(name="c", image="i:1", resources=resources), **spec)
    return made


def test_as_little_as_possible_is_ended_for_a_critical_pod(lab: Any) -> None:
    critical = wants(lab, "critical", "2", priority=CRITICAL)
    guaranteed = wants(lab, "guaranteed", "2", limit=True, memory="1Gi")
    small, large = wants(lab, "small", "1"), wants(lab, "large", "3")
    peer = wants(lab, "peer", "4", priority=CRITICAL)
    every = [guaranteed, small, large, peer, lab.pod("nothing")]

    def named(needs: dict[str, int]) -> list[str | None] | None:
        found = victims(critical, every, needs)
        return None if found is None else [pod.metadata.name for pod in found]

    assert named({"cpu": 1000}) == ["small"]
    assert named({"cpu": 2000}) == ["large"]
    assert named({"cpu": 4000}) == ["large", "small"]
    assert named({"cpu": 5000}) == ["guaranteed", "large"]
    assert named({"pods": 1000}) == ["nothing"]
    assert named({"cpu": 7000}) is None, "what is as important stays"


def test_a_critical_pod_starts_once_those_that_made_room_for_it_have_ended(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            cluster.api.bind(wants(lab, "plain", "3", termination_grace_period_seconds=5))
            await cluster.phase("plain", "Running")
            cluster.api.bind(wants(lab, "other", "2"))
            await cluster.phase("other", "Failed")
            assert cluster.api.pod("other").status.reason == "OutOfcpu"
            cluster.api.bind(wants(lab, "critical", "2", priority=CRITICAL))
            await cluster.phase("critical", "Running")
            ended = cluster.api.pod("plain").status
            assert (ended.phase, ended.reason) == ("Failed", "Preempting")
            assert ended.message == "Preempted in order to admit critical pod"
            assert ("Preempting", "Preempted in order to admit critical pod") in cluster.api.events()

    lab.simulate(scenario)
