"""Starting processes, seen from the warden: fork, hear how the set-up goes, let the process run.

The child reports over a socket that closes when it becomes its program. So the outcomes are: a report of an error,
a report that it is ready (then it is written down and told to go, under its limits), and the closing.
"""

import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kybern.linux import processes, seccomp, tty
from kybern.runtime.warden import oci, setup
from kybern.runtime.warden.loop import Loop

REPORT_BYTES_MAX = 1 << 16
FILTERS_MAX = 64  # compiled profiles that are remembered; clusters have a handful

SETUP_CODE = 128


@dataclass(slots=True)
class Failure:
    message: str
    code: int = SETUP_CODE


@dataclass(slots=True)
class Starting:
    """A process between fork and exec."""

    pid: int
    pidfd: int
    connection: socket.socket
    ours: dict[str, int]
    """The warden's ends of its streams, by name."""
    on_ready: Callable[["Starting"], None]
    on_end: Callable[["Starting", Failure | None], None]
    user: list[Any] = field(default_factory=list)
    failure: Failure | None = None
    ready: bool = False


def start(
    loop: Loop,
    *,
    spec: Mapping[str, Any],
    stdin: bool,
    on_ready: Callable[[Starting], None],
    on_end: Callable[[Starting, Failure | None], None],
    rootfs: Mapping[str, Any] | None = None,
    staging: str = "",
    views: Sequence[tuple[str, str]] = (),
    entrance: Callable[[], list[int]] | None = None,
    container_pidfd: int = -1,
) -> Starting:
    """Fork a container's first process, or with `container_pidfd` another one in it. `entrance` is called in it."""
    terminal = bool(spec["process"].get("terminal"))
    theirs, ours = ((), {}) if terminal else open_pipes(stdin=stdin)
    filter_program = filter_of(spec["linux"].get("seccomp"))
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = setup.Child(spec, rootfs or {}, staging, theirs, filter_program, views, there, container_pidfd, entrance)
    pid = _fork_runtime(child, container_pidfd) if spec.get("handler") else _fork(child, container_pidfd)
    there.close()
    for descriptor in theirs:
        os.close(descriptor)
    starting = Starting(pid, os.pidfd_open(pid), here, dict(ours), on_ready, on_end)
    here.setblocking(False)
    loop.watch(here.fileno(), lambda: _heard(loop, starting))
    return starting


def _fork_runtime(child: setup.Child, container_pidfd: int) -> int:
    """A runtime makes the namespaces itself, and finds a container by its name."""
    pid = processes.fork_into(None, new=False)
    if pid == 0:
        (oci.start_another if container_pidfd >= 0 else oci.start)(child)
    return pid


def _fork(child: setup.Child, container_pidfd: int) -> int:
    namespace = next((entry for entry in child.spec["linux"]["namespaces"] if entry["type"] == "pid"), None)
    path = (namespace or {}).get("path", "")
    joined = container_pidfd if container_pidfd >= 0 else os.open(path, os.O_RDONLY | os.O_CLOEXEC) if path else None
    try:
        pid = processes.fork_into(joined, new=namespace is not None and joined is None)
    finally:
        if joined is not None and joined != container_pidfd:
            os.close(joined)
    if pid == 0:
        (setup.start_another if container_pidfd >= 0 else setup.start)(child)
    return pid


def open_pipes(*, stdin: bool) -> tuple[tuple[int, ...], dict[str, int]]:
    """The process' three ends, and the warden's by name."""
    ours: dict[str, int] = {}
    if stdin:
        read, ours["stdin"] = os.pipe2(os.O_CLOEXEC)
    else:
        read = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    theirs = [read]
    for name in ("stdout", "stderr"):
        ours[name], written = os.pipe2(os.O_CLOEXEC)
        tty.widen_pipe(written)
        theirs.append(written)
    return tuple(theirs), ours


def _heard(loop: Loop, starting: Starting) -> None:
    try:
        data, descriptors, _, _ = socket.recv_fds(starting.connection, REPORT_BYTES_MAX, 1, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return
    except OSError:
        data, descriptors = b"", []
    if not data:
        _finished(loop, starting)
        return
    report = json.loads(data)
    if "error" in report:
        starting.failure = Failure(report["error"], report["code"])
        return
    starting.ready, starting.user = True, report["user"]
    if descriptors:
        starting.ours["terminal"] = descriptors[0]
    starting.on_ready(starting)
    try:
        starting.connection.send(b"g")
    except OSError:
        pass  # it died meanwhile: the closing says so


def _finished(loop: Loop, starting: Starting) -> None:
    """The connection closed: the program runs, or the process ended before it did."""
    loop.forget(starting.connection.fileno())
    starting.connection.close()
    if not starting.ready and starting.failure is None:
        starting.failure = Failure("the process ended while it was set up")
    starting.on_end(starting, starting.failure)


_filters: dict[str, bytes] = {}


def filter_of(profile: Mapping[str, Any] | None) -> bytes | None:
    """The compiled profile; compiled once."""
    if not profile:
        return None
    key = json.dumps(profile, sort_keys=True)
    if key not in _filters:
        if len(_filters) >= FILTERS_MAX:
            _filters.clear()
        _filters[key] = seccomp.compile_profile(profile)
    return _filters[key]
