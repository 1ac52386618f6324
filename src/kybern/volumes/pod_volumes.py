"""The volumes of the pods of this node: set up before a pod starts, refreshed while it runs, taken down after it ended.

- `set_up` may be called again at any time; it changes only what differs. `refresh` reads what is on the disk only where what
  the API says differs from what was written last, or nothing is there: every ten seconds it is asked for all pods of a node.
- A volume that cannot be set up raises `VolumeFault` with upstream's words; the others are set up nevertheless.
- `tear_down` leaves no mount and no file; it never deletes through a mount that it could not take away.
"""

import asyncio
import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import EmptyDirVolumeSource, Pod, Volume
from kybern.api.errors import ApiError
from kybern.api.quantity import value
from kybern.linux.interface import Mounts
from kybern.volumes import atomic, host_path
from kybern.volumes.downward import Facts
from kybern.volumes.mounts import mounted_beneath
from kybern.volumes.objects import Objects
from kybern.volumes.paths import CONTENT, pod_directory, ready_mark, source_of, sub_path_target, volume_directory
from kybern.volumes.payload import Contents, Payload, VolumeFault
from kybern.volumes.sub_path import make_sub_path

HUGE_PAGES = "HugePages"
IN_MEMORY = frozenset({"secret", "downward_api", "projected"})
OPEN_TO_ALL = 0o777  # the containers of a pod may run as anybody


class PodVolumes:
    def __init__(self, pods_directory: str, objects: Objects, mounts: Mounts, clock: Clock, ids: Ids) -> None:
        self.pods, self.objects, self.mounts, self.clock, self.ids = pods_directory, objects, mounts, clock, ids
        self._written: dict[str, dict[str, bytes]] = {}
        """By pod and volume: a digest of what it holds."""

    async def set_up(self, pod: Pod, facts: Facts, not_before: float | None = None) -> None:
        """VolumeFault, about the first that failed, once all have been tried."""
        self._make_directory(pod_directory(self.pods, pod.metadata.uid or ""), 0o750)
        self._written.pop(pod.metadata.uid or "", None)
        await self._set_up_each(pod, pod.spec.volumes or (), Contents(self.objects, pod, facts, not_before))

    async def refresh(self, pod: Pod, facts: Facts) -> None:
        """VolumeFault as `set_up`."""
        changing = [volume for volume in pod.spec.volumes or () if source_of(volume) in CONTENT]
        await self._set_up_each(pod, changing, Contents(self.objects, pod, facts, None))

    async def _set_up_each(self, pod: Pod, volumes: Sequence[Volume], contents: Contents) -> None:
        faults: list[VolumeFault] = []
        for volume in volumes:
            try:
                await self._set_up(pod, volume, contents)
            except (VolumeFault, ApiError, OSError, ValueError) as error:
                faults.append(VolumeFault(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}'))
        if faults:
            raise faults[0]

    def is_refreshed(self, pod: Pod) -> bool:
        """Whether any volume of the pod can change while it runs."""
        return any(source_of(volume) in CONTENT for volume in pod.spec.volumes or ())

    async def _set_up(self, pod: Pod, volume: Volume, contents: Contents) -> None:
        source = source_of(volume)
        if volume.host_path:
            host_path.prepare(volume.host_path.path, volume.host_path.type or "")
        elif volume.empty_dir:
            self._set_up_empty_dir(pod, volume, contents.facts)
        elif source in CONTENT:
            await self._set_up_content(pod, volume, source, contents)
        elif source != "image":
            raise VolumeFault("no volume plugin matched")

    def _set_up_empty_dir(self, pod: Pod, volume: Volume, facts: Facts) -> None:
        source = volume.empty_dir
        assert source is not None
        directory = volume_directory(self.pods, pod.metadata.uid or "", volume)
        ready = ready_mark(self.pods, pod.metadata.uid or "", volume)
        if os.path.exists(ready) and os.path.isdir(directory) and (not source.medium or os.path.ismount(directory)):
            return  # it is the containers' from then on, with whatever they make of its mode and group
        self._make_directory(directory, OPEN_TO_ALL)
        if source.medium == "Memory":
            self.mounts.tmpfs(directory, memory_size(pod, source, facts))
        elif source.medium and source.medium.startswith(HUGE_PAGES):
            self.mounts.hugetlbfs(directory, page_size(pod, source.medium))
        elif source.medium:
            raise VolumeFault(f"unsupported emptyDir medium {source.medium}")
        open_to_all = OPEN_TO_ALL | stat.S_ISVTX if source.medium == "Memory" else OPEN_TO_ALL  # as a tmpfs is made
        os.chmod(directory, open_to_all if source.mode is None else source.mode)
        group = _fs_group(pod)
        if group is not None:
            os.chown(directory, -1, group)
            os.chmod(directory, os.stat(directory).st_mode | 0o2770)
        os.makedirs(os.path.dirname(ready), 0o750, exist_ok=True)
        os.close(os.open(ready, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))

    async def _set_up_content(self, pod: Pod, volume: Volume, source: str, contents: Contents) -> None:
        payload = await contents.of(volume)
        written, wanted = self._written.setdefault(pod.metadata.uid or "", {}), digest(payload)
        if written.pop(volume.name, None) != wanted or not self._holds_something(pod, volume):
            self._write(pod, volume, source, payload)  # a failure leaves it as one of which nothing is known
        written[volume.name] = wanted

    def _holds_something(self, pod: Pod, volume: Volume) -> bool:
        """One look: somebody may have unmounted or emptied it."""
        return os.path.lexists(f"{volume_directory(self.pods, pod.metadata.uid or '', volume)}/{atomic.DATA}")

    def _write(self, pod: Pod, volume: Volume, source: str, payload: Payload) -> None:
        directory = volume_directory(self.pods, pod.metadata.uid or "", volume)
        os.makedirs(directory, 0o750, exist_ok=True)
        if source in IN_MEMORY and not os.path.ismount(directory):
            self.mounts.tmpfs(directory, 0)
        group = _fs_group(pod)
        _give(directory, group, OPEN_TO_ALL if group is None else OPEN_TO_ALL | stat.S_ISGID)
        atomic.write(directory, payload, self._stamp(), group)

    def _stamp(self) -> str:
        """A name for a new generation of files."""
        seconds = int(self.clock.wall())
        return f"{seconds}.{self.ids.suffix(10)}"

    def _make_directory(self, directory: str, mode: int) -> None:
        os.makedirs(directory, 0o750, exist_ok=True)
        os.chmod(directory, mode)

    def host_path(self, pod: Pod, name: str) -> str:
        """The directory (or file) on this machine that is the pod's volume of that name."""
        for volume in pod.spec.volumes or ():
            if volume.name == name and volume.host_path:
                return volume.host_path.path
            if volume.name == name and source_of(volume):
                return volume_directory(self.pods, pod.metadata.uid or "", volume)
        raise VolumeFault(f'volume "{name}" not found')

    def sub_path(self, pod: Pod, name: str, container: str, index: int, path: str) -> str:
        """A mount of one path inside the volume, which no link in it can lead out of."""
        target = sub_path_target(self.pods, pod.metadata.uid or "", name, container, index)
        for stale in mounted_beneath(target):
            self.mounts.unmount(stale)
        os.makedirs(os.path.dirname(target), 0o750, exist_ok=True)
        volume = self.host_path(pod, name)
        make_sub_path(volume, path)
        self.mounts.bind_beneath(volume, path, target)
        return target

    def known_pods(self) -> Sequence[str]:
        """The uids of the pods that have something on this machine's disk."""
        with suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self.pods) if entry.is_dir(follow_symlinks=False))
        return ()

    async def tear_down(self, uid: str) -> None:
        """Everything of one pod. OSError when a mount cannot be taken away: then nothing is deleted."""
        directory = pod_directory(self.pods, uid)
        for point in mounted_beneath(directory):
            self.mounts.unmount(point)
        self.objects.forget_pod(uid)
        self._written.pop(uid, None)
        if mounted_beneath(directory):
            raise OSError(f"something is still mounted beneath {directory}")
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def digest(payload: Payload) -> bytes:
    found = blake2b(digest_size=16)
    for path, file in sorted(payload.items()):
        found.update(f"{path}\0{file.mode} {file.uid} {len(file.data)}\0".encode())
        found.update(file.data)
    return found.digest()


def _give(directory: str, group: int | None, mode: int) -> None:
    """Looked at each time, since who made the directory may have been killed before it had its mode."""
    found = os.stat(directory)
    if group is not None and found.st_gid != group:
        os.chown(directory, -1, group)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(directory, mode)


def memory_size(pod: Pod, source: EmptyDirVolumeSource, facts: Facts) -> int:
    """What a volume in memory may grow to: what it says, and no more than its pod, or else the node, has."""
    limits = [(c.resources.limits if c.resources else None) or {} for c in pod.spec.containers]
    whole = ((pod.spec.resources.limits if pod.spec.resources else None) or {}).get("memory")
    most = value((facts.allocatable or {}).get("memory", "0"))
    if whole:
        most = value(whole)
    elif all("memory" in limit for limit in limits):
        most = sum(value(limit["memory"]) for limit in limits)
    asked = value(source.size_limit) if source.size_limit else 0
    return min(asked, most) if asked and most else asked or most


def page_size(pod: Pod, medium: str) -> int:
    """Of `HugePages-2Mi`; of plain `HugePages` the one size that the pod asks for."""
    named = medium.removeprefix(HUGE_PAGES).removeprefix("-")
    requests = [(c.resources.requests if c.resources else None) or {} for c in pod.spec.containers]
    asked = {name.removeprefix("hugepages-") for each in requests for name in each if name.startswith("hugepages-")}
    if not named and len(asked) != 1:
        raise VolumeFault("medium HugePages can only be used if the pod requests huge pages of one size")
    if named and named not in asked:
        raise VolumeFault(f"the requested huge page size {named} is not requested by any container")
    return value(named or asked.pop())


def _fs_group(pod: Pod) -> int | None:
    return pod.spec.security_context.fs_group if pod.spec.security_context else None
