"""A warden of the test's own, a runtime on it, and what the host looked like before and after."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from kybern.linux import cgroup_detect, mounts, processes
from kybern.runtime.cleanup import cleanup
from kybern.runtime.images.store import ImageStore
from kybern.runtime.native import NativeRuntime, containers_dir, warden_socket
from kybern.runtime.warden.fdstore import Keeper


@dataclass
class Node:
    """One machine's worth of runtime, in its own directories; this process is the supervisor."""

    data: Path
    run: Path
    changes: str = ""
    """What the warden runs before anything else: a defence that is taken out of it."""
    keeper: Keeper = field(init=False)
    pid: int = 0

    def __post_init__(self) -> None:
        self.keeper = Keeper(str(self.run / "keeper.sock"))

    def start_warden(self) -> None:
        places = (warden_socket(self.run), containers_dir(self.data), str(self.run / "keeper.sock"))
        if self.changes:
            program = f"{self.changes}\nimport kybern.runtime.warden.main as warden\nwarden.main{places}"
            command = [sys.executable, "-c", program]
        else:
            arguments = zip(("--socket", "--state-dir", "--keeper"), places, strict=True)
            command = [sys.executable, "-m", "kybern.runtime.warden", *chain.from_iterable(arguments)]
        self.pid = os.posix_spawn(sys.executable, command, {"PATH": "/usr/bin:/bin"})

    def kill_warden(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def stop_warden(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)

    def images(self) -> ImageStore:
        return ImageStore(self.data / "images", hidden=(self.data, self.run))

    async def keep(self) -> None:
        """What the supervisor's loop does."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.keeper.fileno(), self.keeper.ready)
        try:
            while True:
                await asyncio.sleep(0.02)
                for pid in adopted_children(self.pid):
                    done, status = os.waitpid(pid, os.WNOHANG)
                    if done:
                        self.keeper.exited(done, status)
        finally:
            loop.remove_reader(self.keeper.fileno())


def adopted_children(warden: int) -> list[int]:
    """Children of this process that it did not start: what a killed warden left to its subreaper."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as opened:
        pids = [int(pid) for pid in opened.read().split() if int(pid) != warden]
    return [pid for pid in pids if _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    """What asyncio started for the test is asyncio's to reap, perhaps at this very moment."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return processes.wait_for_end(pidfd, 0) and _in_own_session(pid)
    except FileNotFoundError:
        return False
    finally:
        os.close(pidfd)


def _in_own_session(pid: int) -> bool:
    """Containers lead sessions; what asyncio started for the test does not."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[3]) == pid


@asynccontextmanager
async def node(base: Path, changes: str = "") -> AsyncIterator[Node]:
    data, run = base / "data", base / "run"
    for directory in (data, run):
        directory.mkdir(mode=0o700, exist_ok=True)
    made = Node(data, run, changes)
    made.start_warden()
    keeping = asyncio.get_running_loop().create_task(made.keep())
    try:
        yield made
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        made.stop_warden()
        cleanup(data, run)
        for pid in adopted_children(made.pid):
            os.waitpid(pid, 0)
        made.keeper.close()


@asynccontextmanager
async def native(made: Node) -> AsyncIterator[NativeRuntime]:
    async with NativeRuntime(made.data, made.run, images=made.images()) as runtime:
        yield runtime


def inventory(base: Path, cgroup: str) -> tuple[list[str], list[str], list[int]]:
    """Mounts, cgroup processes and child processes that belong to a test."""
    points = [point.path for point in mounts.mount_points() if point.path.startswith(str(base))]
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as opened:
        children = [int(pid) for pid in opened.read().split()]
    return points, [str(pid) for pid in cgroup_detect.detect().pids(cgroup)], children
