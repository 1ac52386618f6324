"""The cgroups around all pods: as much as the node may give, and who yields to whom.

<root>               what pods may take together: CPU by its allocatable share, memory up to capacity less reserves
  burstable/         as many CPU shares as its pods ask for together
  besteffort/        next to none
  pod<uid>/          Guaranteed pods
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Pod
from kybern.api.quantity import milli, value
from kybern.kubelet.eviction.thresholds import PODS_MEMORY, Observation
from kybern.kubelet.memory_protection import Files, NodeMemory, of_levels, of_pod
from kybern.kubelet.parts import Parts
from kybern.kubelet.qos import qos_class
from kybern.kubelet.resources import PERIOD_US, UNLIMITED, pod_requests, pod_resources, shares
from kybern.runtime.cri import LinuxResources

PERIOD_SECONDS = 60.0
NOTHING: Files = {}

log = logging.getLogger(__name__)


def node_memory(parts: Parts) -> NodeMemory:
    return NodeMemory(
        unified=parts.cgroups.unified,
        total_bytes=parts.node.memory_bytes,
        allocatable_bytes=value(parts.node.allocatable.get("memory", "0")),
        swap_bytes=parts.node.swap_bytes,
    )


def limits_of_pod(parts: Parts, pod: Pod) -> LinuxResources:
    """Of a pod's own cgroup, all together."""
    files = of_pod(parts.config.protection, node_memory(parts), pod)
    return replace(pod_resources(pod, parts.config.pids_max, parts.node.page_sizes), unified=files)


def qos_limits(
    pods: Sequence[Pod],
    root: str,
    allocatable: Mapping[str, str],
    memory_bytes_max: int,
    kept: tuple[Files, Files] = ({}, {}),
) -> dict[str, LinuxResources]:
    """By path, outer groups first. `kept`: what the kernel keeps for all, and for the Burstable ones."""
    burstable = sum(pod_requests(pod).get("cpu", 0) for pod in pods if qos_class(pod) == "Burstable")
    return {
        root: _shared(milli(allocatable.get("cpu", "0")), memory_bytes_max or UNLIMITED, kept[0]),
        f"{root}/burstable": _shared(burstable, kept=kept[1]),
        f"{root}/besteffort": _shared(0),
    }


def _shared(milli_cpu: int, memory: int = UNLIMITED, kept: Files = NOTHING) -> LinuxResources:
    return LinuxResources(
        cpu_period=PERIOD_US,
        cpu_quota=UNLIMITED,
        cpu_shares=shares(milli_cpu),
        memory_limit_bytes=memory,
        unified=kept,
    )


class QosCgroups:
    def __init__(self, parts: Parts, active_pods: Callable[[], Sequence[Pod]], capacity: Mapping[str, str]) -> None:
        self.parts, self.active_pods = parts, active_pods
        kept = value(parts.config.reserved.get("memory", "0"))
        self.memory_bytes_max = max(value(capacity.get("memory", "0")) - kept, 0)
        self.applied: dict[str, LinuxResources] = {}
        self.enforced = False
        self.news = asyncio.Event()

    def observe(self) -> Mapping[str, Observation]:
        """What is left of the limit that all pods have together, where they have one."""
        if not self.memory_bytes_max:
            return {}
        used = self.parts.cgroups.working_set_bytes(self.parts.config.cgroup_root)
        return {PODS_MEMORY: Observation(max(self.memory_bytes_max - used, 0), self.memory_bytes_max)}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.news.clear()
            self._apply_and_tell()
            try:
                async with timeout(PERIOD_SECONDS):
                    await self.news.wait()
            except TimeoutError:
                self.applied = {}  # whatever was done to them meanwhile, they are put right

    def _apply_and_tell(self) -> None:
        try:
            self.apply()
        except OSError as error:
            log.warning("the cgroups of pods could not be set: %s", error)
            text = f'Failed to update Node Allocatable Limits "{self.parts.config.cgroup_root}": {error}'
            self.parts.tell_of_node("Warning", "FailedNodeAllocatableEnforcement", text)
            return
        if not self.enforced:
            self.parts.tell_of_node("Normal", "NodeAllocatableEnforced", "Updated Node Allocatable limit across pods")
            self.enforced = True

    def apply(self) -> None:
        root, pods = self.parts.config.cgroup_root, self.active_pods()
        kept = of_levels(self.parts.config.protection, node_memory(self.parts), pods)
        wanted = qos_limits(pods, root, self.parts.node.allocatable, self.memory_bytes_max, kept)
        for path, resources in wanted.items():
            if self.applied.get(path) != resources:
                self.parts.cgroups.ensure(path, resources)
                self.applied[path] = resources
