"""Leaving nothing behind: every process, mount, namespace and cgroup of a runtime, found from its directories.

For `kybern down`, when no warden and no agent run any more. Every step may find its work done already.
"""

import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

from kybern.linux import cgroup_detect, mounts, processes
from kybern.linux.cgroups import Cgroups
from kybern.runtime import disk
from kybern.runtime.containers import ContainerRecord
from kybern.runtime.sandboxes import SandboxRecord
from kybern.runtime.warden import records


def cleanup(data_dir: Path, run_dir: Path, cgroup_root: str = "") -> None:
    """Containers and sandboxes end and are forgotten; images stay. `cgroup_root` goes with everything in it."""
    groups = cgroup_detect.detect()
    containers = data_dir / "containers"
    for identifier, state in records.load_all(str(containers)):
        record = disk.load(containers / identifier / disk.RECORD, ContainerRecord)
        path = record.spec["linux"]["cgroupsPath"] if record else state.get("cgroup", "")
        _end(groups, path, state)
    if cgroup_root.strip("/"):
        remove_group(groups, cgroup_root)
    for identifier in disk.names(data_dir / "sandboxes"):
        sandbox = disk.load(data_dir / "sandboxes" / identifier / disk.RECORD, SandboxRecord)
        if sandbox and sandbox.holder_pid and processes.start_ticks(sandbox.holder_pid) == sandbox.holder_ticks:
            _kill(sandbox.holder_pid)
    for directory in (run_dir / "sandboxes", containers, data_dir / "sandboxes"):
        mounts.unmount_beneath(str(directory))
        shutil.rmtree(directory, ignore_errors=True)


def _end(groups: Cgroups, path: str, state: records.Record) -> None:
    if records.alive(state):
        _kill(state["pid"])
    if path:
        remove_group(groups, path)


def _kill(pid: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        processes.wait_for_end(pidfd, 10.0)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def remove_group(groups: Cgroups, path: str) -> None:
    """The group with all its processes, and each parent that is left empty."""
    for end in (groups.kill, groups.remove):
        try:
            end(path)
        except FileNotFoundError:
            pass  # somebody else removes it at this moment
    for parent in parents(path):
        try:
            groups.remove_empty(parent)
        except OSError:
            return


def parents(path: str) -> Iterable[str]:
    names = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(names[:depth]) for depth in range(len(names), 0, -1)]
