"""What a node says of a pod that it cannot do something for: reasons and texts as upstream has them."""

import errno
from collections.abc import Sequence
from dataclasses import replace as replace_fields
from typing import Any

import pytest
from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import LocalObjectReference
from kybern.kubelet.parts import NoCgroups
from kybern.kubelet.qos_cgroups import QosCgroups
from kybern.runtime.cri import LinuxResources, PodSandboxConfig, RuntimeFault, SandboxStatus
from kybern.runtime.simulated import Behaviour, Simulated


class Failing(Simulated):
    """Once each, what has a text here."""

    def __init__(self, runs_seconds: float | None = None, **texts: str) -> None:
        super().__init__(LoopClock(), behave=lambda config: Behaviour(runs_seconds))
        self.texts = texts

    def fail(self, what: str) -> None:
        if text := self.texts.pop(what, ""):
            raise RuntimeFault("Unknown", text)

    async def network_fault(self) -> str:
        return self.texts.get("network", "")

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        self.fail("sandbox")
        return await super().run_pod_sandbox(config)

    async def list_pod_sandboxes(self) -> Sequence[SandboxStatus]:
        if self.sandboxes:
            self.fail("status")
        return await super().list_pod_sandboxes()

    async def remove_container(self, container_id: str) -> None:
        self.fail("removal")
        await super().remove_container(container_id)

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        self.fail("stop")
        await super().stop_container(container_id, timeout_seconds)


class Refusing(NoCgroups):
    def ensure(self, path: str, resources: LinuxResources) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")


class Crowded(NoCgroups):
    def __init__(self) -> None:
        self.full = True

    def ensure(self, path: str, resources: LinuxResources) -> None:
        if self.full and "pod" in path:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")


async def told(cluster: Any) -> list[tuple[str, str]]:
    await cluster.kubelet.parts.recorder.flush()
    return list(cluster.api.events())


@pytest.mark.parametrize(
    ("failing", "event"),
    [
        ({"sandbox": "no"}, ("FailedCreatePodSandBox", "Failed to create pod sandbox: no")),
        ({"status": "lost"}, ("FailedPodSandBoxStatus", "Unable to get pod sandbox status: lost")),
        ({"stop": "it hangs"}, ("FailedKillPod", "error killing pod: it hangs")),
    ],
)
def test_what_the_runtime_refuses_once_is_told_and_done_the_next_time(
    lab: Any, failing: dict[str, str], event: tuple[str, str]
) -> None:
    async def scenario() -> None:
        async with lab.cluster(runtime=Failing(**failing)) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            cluster.api.delete_gracefully("/api/v1/namespaces/default/pods/web-1", 5)
            await cluster.until(lambda: not cluster.api.has_pod("web-1"))
            warnings = [found for found in await told(cluster) if found[0].startswith("Failed")]
            assert warnings == [event]

    lab.simulate(scenario)


def test_a_pod_waits_for_the_network_unless_it_uses_the_nodes(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Failing()
        async with lab.cluster(runtime=runtime) as cluster:
            runtime.texts["network"] = "cni plugin not initialized"
            own = lab.pod("own")
            cluster.api.bind(lab.pod("waits"))
            cluster.api.bind(replace(own, spec=replace(own.spec, host_network=True)))
            await cluster.phase("own", "Running")
            text = "network is not ready: container runtime network not ready: cni plugin not initialized"
            assert ("NetworkNotReady", text) in await told(cluster)
            assert cluster.api.pod("waits").status.phase == "Pending"
            runtime.texts.clear()
            await cluster.phase("waits", "Running")

    lab.simulate(scenario)


def test_a_cgroup_that_cannot_be_made_is_told(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster(cgroups=Crowded()) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.phase("web-1", "Running")
            [text] = [text for reason, text in await told(cluster) if reason == "FailedCreatePodContainer"]
            assert text == "unable to ensure pod container exists: [Errno 28] No space left on device"

    lab.simulate(scenario)


def test_a_dead_container_that_cannot_be_removed_is_told_of_the_node_and_the_pod_goes_on(lab: Any) -> None:
    async def scenario() -> None:
        runtime = Failing(runs_seconds=1, removal="device or resource busy")
        async with lab.cluster(runtime=runtime) as cluster:
            cluster.api.bind(lab.pod())
            await cluster.until(lambda: runtime.count > 8)
            found = await told(cluster)
            assert ("ContainerGCFailed", "device or resource busy") in found
            assert "FailedSync" not in dict(found) and len(runtime.containers) == 2, "and removed after all"

    lab.simulate(scenario)


def test_limits_of_all_pods_are_told_when_they_hold_and_until_then_why_not(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            parts = cluster.kubelet.parts
            qos = QosCgroups(replace_fields(parts, cgroups=Refusing()), list, {})
            qos._apply_and_tell()
            text = 'Failed to update Node Allocatable Limits "/kybern/pods": [Errno 16] Device or resource busy'
            assert await told(cluster) == [("FailedNodeAllocatableEnforcement", text)]
            qos.parts = parts
            for _ in range(2):
                qos._apply_and_tell()
            enforced = ("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
            assert (await told(cluster))[1:] == [enforced]

    lab.simulate(scenario)


def test_secrets_for_a_pull_that_are_not_there_are_named_and_the_pull_is_tried(lab: Any) -> None:
    async def scenario() -> None:
        async with lab.cluster() as cluster:
            pod = lab.pod()
            references = (LocalObjectReference(name="one"), LocalObjectReference(name="two"))
            cluster.api.bind(replace(pod, spec=replace(pod.spec, image_pull_secrets=references)))
            await cluster.phase("web-1", "Running")
            text = (
                "Unable to retrieve some image pull secrets (one, two); attempting to pull the image may not succeed."
            )
            assert ("FailedToRetrieveImagePullSecret", text) in await told(cluster)

    lab.simulate(scenario)
