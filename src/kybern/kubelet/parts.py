"""What the workers of a kubelet share: the doors to the API, the runtime and the volumes, and what is known of the node."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import ObjectReference, Pod
from kybern.client import Client, View
from kybern.client.events import Recorder
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.devices.claims import Claims
from kybern.kubelet.devices.gate import Gate
from kybern.kubelet.devices.inventory import Inventory
from kybern.kubelet.images import Images
from kybern.kubelet.pleg import Pleg
from kybern.kubelet.resources import HUGEPAGES
from kybern.kubelet.topology.alignment import Alignment
from kybern.kubelet.topology.cpus import Cpus
from kybern.kubelet.topology.memory import Memory
from kybern.runtime.cri import DNSConfig, LinuxResources, Runtime
from kybern.runtime.disk_usage import DiskUsage
from kybern.volumes.downward import Facts
from kybern.volumes.objects import Objects


class Volumes(Protocol):
    """As `volumes.pod_volumes.PodVolumes`; a simulated node has none."""

    async def set_up(self, pod: Pod, facts: Facts, not_before: float | None = None) -> None: ...

    async def refresh(self, pod: Pod, facts: Facts) -> None: ...

    def is_refreshed(self, pod: Pod) -> bool: ...

    def host_path(self, pod: Pod, name: str) -> str: ...

    def sub_path(self, pod: Pod, name: str, container: str, index: int, path: str) -> str: ...

    def known_pods(self) -> Sequence[str]: ...

    async def tear_down(self, uid: str) -> None: ...


class PodCgroups(Protocol):
    """The cgroup of a pod, around those of its containers. Calls are idempotent."""

    unified: bool
    """Whether it is v2, which has files of its own."""

    def ensure(self, path: str, resources: LinuxResources) -> None: ...

    def freeze(self, path: str, *, on: bool) -> None:
        """Or thaw."""

    def working_set_bytes(self, path: str) -> int:
        """Of all in it. OSError where there is no such group."""

    async def remove(self, path: str) -> None: ...


class NoCgroups:
    """For simulated nodes."""

    unified = False

    def ensure(self, path: str, resources: LinuxResources) -> None:
        return

    def freeze(self, path: str, *, on: bool) -> None:
        return

    def working_set_bytes(self, path: str) -> int:
        return 0

    async def remove(self, path: str) -> None:
        return


class NoVolumes:
    """For simulated nodes: every volume is there, and nowhere."""

    async def set_up(self, pod: Pod, facts: Facts, not_before: float | None = None) -> None:
        return

    async def refresh(self, pod: Pod, facts: Facts) -> None:
        return

    def is_refreshed(self, pod: Pod) -> bool:
        return False

    def host_path(self, pod: Pod, name: str) -> str:
        return f"/nowhere/{name}"

    def sub_path(self, pod: Pod, name: str, container: str, index: int, path: str) -> str:
        return f"/nowhere/{name}/{index}"

    def known_pods(self) -> Sequence[str]:
        return ()

    async def tear_down(self, uid: str) -> None:
        return


@dataclass(slots=True)
class NodeFacts:
    """What the workers need to know of the node; `node.py` keeps it current."""

    allocatable: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 0
    swap_bytes: int = 0
    dns: DNSConfig = field(default_factory=DNSConfig)
    hosts: str = ""
    pressures: frozenset[str] = frozenset()
    """The conditions of the node that say what it runs short of."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Something of this is to be reported at once."""
    shutting_down: bool = False
    apparmor: bool = False
    """The kernel can enforce its profiles."""
    on_disk: bool = True
    """False for a simulated node, whose pods have no files."""

    @property
    def page_sizes(self) -> tuple[str, ...]:
        """Of huge pages: `2Mi`."""
        return tuple(name.removeprefix(HUGEPAGES) for name in self.allocatable if name.startswith(HUGEPAGES))

    def say_pressures(self, found: frozenset[str]) -> None:
        if found != self.pressures:
            self.pressures = found
            self.news.set()

    @property
    def pods_reachable(self) -> bool:
        """A simulated pod's address is nobody's: nothing may be sent there."""
        return self.on_disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    client: Client
    view: View
    runtime: Runtime
    volumes: Volumes
    objects: Objects
    cgroups: PodCgroups
    images: Images
    pleg: Pleg
    recorder: Recorder
    clock: Clock
    ids: Ids
    config: KubeletConfig
    node: NodeFacts
    others: Callable[[str], Sequence[Pod]]
    """The pods beside the one of that uid that use something of the node, as they were given it."""
    cpus: Cpus
    memory: Memory
    devices: Inventory
    alignment: Alignment
    """Of these three."""
    gate: Gate
    claims: Claims
    disk: DiskUsage
    room_made: Callable[[], None]
    """A pod uses less of the node than before: somebody may have waited for it."""

    def tell_of_node(self, type: str, reason: str, text: str) -> None:
        name = self.config.node_name
        self.recorder.event(ObjectReference(kind="Node", name=name, uid=name), type, reason, text)
