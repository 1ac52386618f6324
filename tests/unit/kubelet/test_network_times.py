"""How long pods wait for their network is told at /metrics."""

import asyncio

import pytest

from kybern.aio.clock import LoopClock
from kybern.kubelet.exposition import text_of
from kybern.kubelet.network_times import TimedNetwork
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata
from kybern.testing import virtual

CONFIG = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="d", uid="u"))


class Slow:
    def fault(self) -> str:
        return "no plugin"

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        await asyncio.sleep(2)
        if sandbox_id == "broken":
            raise OSError("no address")
        return ("10.0.0.2",)

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        await asyncio.sleep(1)


def test_setting_up_and_tearing_down_are_counted_apart_and_failures_not() -> None:
    async def scenario() -> str:
        network = TimedNetwork(Slow(), LoopClock())
        assert network.fault() == "no plugin"
        for one in ("a", "b"):
            assert await network.attach(one, "/netns", CONFIG) == ("10.0.0.2",)
        with pytest.raises(OSError):
            await network.attach("broken", "/netns", CONFIG)
        await network.detach("a", "/netns")
        return text_of(network.samples())

    name = "kubelet_network_plugin_operations_duration_seconds"
    assert virtual.run(scenario()).splitlines() == [
        f"# TYPE {name}_count counter",
        f'{name}_count{{operation_type="set_up_pod"}} 2',
        f'{name}_count{{operation_type="tear_down_pod"}} 1',
        f"# TYPE {name}_sum counter",
        f'{name}_sum{{operation_type="set_up_pod"}} 4',
        f'{name}_sum{{operation_type="tear_down_pod"}} 1',
    ]
