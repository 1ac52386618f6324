"""What the pods of a node take of it, measured: what eviction, `/stats/summary` and the metrics are made from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.core_v1 import Pod
from kybern.kubelet.observed import Observed
from kybern.kubelet.parts import Parts
from kybern.runtime.cri import ContainerState, ContainerStats, ContainerStatus, RuntimeFault
from kybern.runtime.disk_usage import Used
from kybern.volumes.payload import VolumeFault


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    status: ContainerStatus
    stats: ContainerStats
    log_bytes: int = 0

    @property
    def disk_bytes(self) -> int:
        return self.stats.rootfs_used_bytes + self.log_bytes


@dataclass(frozen=True, slots=True)
class Measured:
    pod: Pod
    containers: Sequence[ContainerUsage] = ()
    empty_dirs: Mapping[str, Used] = field(default_factory=dict)


async def measure_pod(parts: Parts, pod: Pod, observed: Observed) -> Measured:
    """Its running containers, and what it wrote."""
    containers = [
        ContainerUsage(status, stats, log_bytes(status.log_path))
        for status in observed.containers
        if status.state is ContainerState.RUNNING and (stats := await _stats(parts, status)) is not None
    ]
    return Measured(pod, containers, await _empty_dirs(parts, pod))


async def _stats(parts: Parts, status: ContainerStatus) -> ContainerStats | None:
    try:
        return await parts.runtime.container_stats(status.id)
    except RuntimeFault:
        return None  # it has just ended


async def _empty_dirs(parts: Parts, pod: Pod) -> dict[str, Used]:
    found: dict[str, Used] = {}
    for volume in pod.spec.volumes or ():
        if volume.empty_dir is not None and not volume.empty_dir.medium and parts.node.on_disk:
            try:
                found[volume.name] = await parts.disk.of(parts.volumes.host_path(pod, volume.name))
            except VolumeFault:
                continue  # not made yet
    return found


def log_bytes(path: str) -> int:
    """The log and what was put aside of it."""
    directory, name = os.path.split(path)
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(name):
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:
        return total
    return total
