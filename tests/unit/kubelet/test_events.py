"""What a node says of a pod that it cannot do something for: reasons and texts as upstream has them."""

import errno
from typing import Any

import pytest
from msgspec.structs import replace

from kybern.aio.clock import LoopClock
from kybern.api.core_v1 import LocalObjectReference
from kybern.kubelet.parts import NoCgroups
from kybern.runtime.cri import LinuxResources, PodSandboxConfig, RuntimeFault
from kybern.runtime.simulated import Simulated


class Failing(Simulated):
    """Once each, what has a text here."""

    def __init__(self, **texts: str) -> None:
        super().__init__(LoopClock())
        self.texts = texts

    def fail(self, what: str) -> None:
        if text := self.texts.pop(what, ""):
            raise RuntimeFault("Unknown", text)

    async def network_fault(self) -> str:
        return self.texts.get("network", "")

    async def run_pod_sandbox(self, config: PodSandboxConfig) -> str:
        self.fail("sandbox")
        return await super().run_pod_sandbox(config)

    async def stop_container(self, container_id: str, timeout_seconds: float) -> None:
        self.fail("stop")
        await super().stop_container(container_id, timeout_seconds)


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
