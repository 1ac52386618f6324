"""How long a node's pods wait for their network, and for its end: counted beside whatever network they have."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from kybern.aio.clock import Clock
from kybern.kubelet.exposition import Sample
from kybern.runtime.cri import PodNetwork, PodSandboxConfig

NAME = "kubelet_network_plugin_operations_duration_seconds"


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """The `PodNetwork` that it is given, with a clock beside it."""

    network: PodNetwork
    clock: Clock
    count: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def fault(self) -> str:
        return self.network.fault()

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        began = self.clock.monotonic()
        ips = await self.network.attach(sandbox_id, netns_path, config)
        self._took("set_up_pod", began)
        return ips

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        began = self.clock.monotonic()
        await self.network.detach(sandbox_id, netns_path)
        self._took("tear_down_pod", began)

    def _took(self, operation: str, began: float) -> None:
        self.count[operation] += 1
        self.seconds[operation] = self.seconds.get(operation, 0.0) + self.clock.monotonic() - began

    def samples(self) -> Iterator[Sample]:
        """A sum and a count, as a summary of Prometheus has them."""
        for operation, count in self.count.items():
            labels = {"operation_type": operation}
            yield Sample(f"{NAME}_sum", self.seconds[operation], labels)
            yield Sample(f"{NAME}_count", count, labels)
