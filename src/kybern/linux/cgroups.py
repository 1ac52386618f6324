"""Control groups behind one interface, whichever of v1, hybrid and v2 the machine has.

A group is named by a path like `/kybern/pods/podX/abc`, the same in every hierarchy. `detect` says which of
`cgroups_v1.V1` and `cgroups_v2.V2` this machine needs: v2 when its controllers are there, else v1 (hybrid too).
"""

import errno
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

ROOT = "/sys/fs/cgroup"
REMOVE_SECONDS = 2.0  # a group stays busy for a moment after its last process ended


class Limits(NamedTuple):
    """Zero means no limit."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_bytes: int = 0
    memory_reservation_bytes: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    pids_limit: int = 0
    hugepage_limits: Mapping[str, int] = {}
    """By the size of a page, `2Mi`; zero is none."""
    unified: Mapping[str, str] = {}


class Usage(NamedTuple):
    cpu_ns: int = 0
    memory_bytes: int = 0
    working_set_bytes: int = 0
    pids: int = 0
    rss_bytes: int = 0
    page_faults: int = 0
    major_page_faults: int = 0


class DeviceRule(NamedTuple):
    """One line of an allow-list: `c 1:3 rwm`; -1 stands for every number."""

    kind: str
    major: int
    minor: int
    access: str


class Cgroups(Protocol):
    unified: bool
    """Whether it is v2."""

    def create(self, path: str) -> None:
        """With its parents; nothing when it exists."""

    def limit(self, path: str, limits: Limits) -> None: ...

    def allow_devices(self, path: str, rules: Sequence[DeviceRule]) -> None:
        """Only these may be used in the group."""

    def entrance(self, path: str) -> list[int]:
        """Descriptors by which `enter` leads into the group, also from where its path is not seen."""

    def pids(self, path: str) -> list[int]: ...

    def usage(self, path: str) -> Usage: ...

    def oom_kills(self, path: str) -> int: ...

    def kill(self, path: str) -> None:
        """SIGKILL to every process in the group and below it."""

    def freeze(self, path: str, on: bool) -> None: ...

    def remove(self, path: str, wait_seconds: float = REMOVE_SECONDS) -> None:
        """With everything below; nothing when it does not exist. OSError when processes are left after that time."""

    def remove_empty(self, path: str) -> None:
        """OSError when something is in it."""

    def views(self, path: str) -> Sequence[tuple[str, str]]:
        """(name below /sys/fs/cgroup in a container, directory on the host) of what the group may see of itself."""


def read(path: str) -> str:
    """FileNotFoundError when the group is gone, also when it went while it was read."""
    try:
        with open(path, encoding="ascii") as opened:
            return opened.read()
    except OSError as error:
        raise _gone(path) if error.errno == errno.ENODEV else error from None


def write(path: str, text: str) -> None:
    try:
        with open(path, "wb", buffering=0) as opened:
            opened.write(text.encode())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            raise _gone(path) from None
        raise OSError(error.errno, f"{error.strerror} (writing {text.strip()!r})", path) from None


def opened_for_entering(paths: Iterable[str]) -> list[int]:
    found: list[int] = []
    try:
        for path in paths:
            found.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        close_all(found)
        raise
    return found


def enter(entrance: Sequence[int]) -> None:
    """This process, which must have one thread. By itself: to move another one the kernel stops the whole machine from
    forking, and waits until it has, which takes ten milliseconds."""
    try:
        for descriptor in entrance:
            os.write(descriptor, b"0")
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (entering the cgroup)") from None
    finally:
        close_all(entrance)


def page_files(limits: Limits, end: str) -> dict[str, str]:
    """The kernel writes `2MB` for `2Mi`. What is reserved is counted too, where it can be: so it is refused to who asks for
    more, who would otherwise be ended when it is used."""
    found: dict[str, str] = {}
    for size, bytes_max in limits.hugepage_limits.items():
        name = f"hugetlb.{size.removesuffix('i')}B"
        found |= {f"{name}.{end}": str(bytes_max), f"{name}.rsvd.{end}": str(bytes_max)}
    return found


def close_all(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _gone(path: str) -> FileNotFoundError:
    """What the kernel calls ENODEV: a file that was opened before its group was removed."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def flat(text: str) -> dict[str, int]:
    """`name number` lines, as memory.stat and its kind have them."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isdigit() else 0


def tree(directory: str) -> list[str]:
    """The directory and all below it, the innermost first."""
    return [found for found, _, _ in os.walk(directory, topdown=False)]


def remove_tree(directory: str, wait_seconds: float = REMOVE_SECONDS) -> None:
    for found in tree(directory):
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                os.rmdir(found)
                break
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.002)


def processes(directory: str) -> list[int]:
    found: list[int] = []
    for below in tree(directory):
        try:
            found += [int(line) for line in read(f"{below}/cgroup.procs").split()]
        except FileNotFoundError:
            pass  # removed meanwhile
    return found


def send_kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
