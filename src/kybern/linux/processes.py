"""Processes: what prctl, pidfds and a careful fork are needed for."""

import fcntl
import os
import resource
import select
import signal
import socket
import struct
import sys
from collections.abc import Collection, Mapping

from kybern.linux import capabilities
from kybern.linux.namespaces import NEWPID, setns, unshare
from kybern.linux.syscalls import call

_PDEATHSIG, _SET_DUMPABLE, _SET_NAME, _SET_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 4, 15, 36, 38
_CLOSE_RANGE_CLOEXEC = 4
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE
_F_ADD_SEALS = 1033


def become_subreaper() -> None:
    """Orphaned descendants become this process' children."""
    call("prctl", _SET_SUBREAPER, 1, 0, 0, 0)


def set_no_new_privs() -> None:
    call("prctl", _SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def set_dumpable(on: bool) -> None:
    """Off: nobody without CAP_SYS_PTRACE on the host may look into this process or at its files in /proc."""
    call("prctl", _SET_DUMPABLE, int(on), 0, 0, 0)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    call("prctl", _PDEATHSIG, number, 0, 0, 0)


def set_name(name: str) -> None:
    call("prctl", _SET_NAME, name.encode()[:15], 0, 0, 0)


def close_on_exec_from(first: int) -> None:
    """All descriptors from `first` on close when the process runs another program."""
    call("close_range", first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def close_from(first: int) -> None:
    call("close_range", first, 0xFFFFFFFF, 0)


def close_all_but(kept: Collection[int]) -> None:
    """Every open descriptor except these; which is how a fork forgets what its parent has open."""
    first = 0
    for descriptor in sorted(kept):
        if descriptor > first:
            call("close_range", first, descriptor - 1, 0)
        first = descriptor + 1
    call("close_range", first, 0xFFFFFFFF, 0)


def fork_into(pid_namespace: int | None, *, new: bool = False) -> int:
    """fork(2), with the child in another PID namespace: that of a descriptor, or a new one whose first process it is.

    The caller itself stays where it is. It must have one thread.
    """
    home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if new:
            unshare(NEWPID)
        elif pid_namespace is not None:
            setns(pid_namespace, NEWPID)
        child = -1
        try:
            child = os.fork()
        finally:
            if child != 0:
                setns(home, NEWPID)
        return child
    finally:
        os.close(home)


def kill(pidfd: int) -> None:
    """SIGKILL; nothing when it has ended."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass


def wait_for_end(pidfd: int, seconds: float) -> bool:
    """Has it ended, at the latest after some seconds? Works for any process, not only children."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def own_files_as(user: int, group: int) -> None:
    """What this process makes from now on belongs to them; what it may do stays as it is."""
    call("setfsgid", group, about="setfsgid")
    call("setfsuid", user, about="setfsuid")
    capabilities.use_all()  # the kernel takes those for files from who stops being root to files


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with its pid, its identity. 0 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def pids_seen_here(first: int) -> dict[int, int]:
    """The children of a PID namespace's first process, whose own pid here is given: by their pids there."""
    found = {}
    with open(f"/proc/{first}/task/{first}/children", encoding="ascii") as children:
        for child in children.read().split():
            with open(f"/proc/{child}/status", encoding="utf-8", errors="replace") as about:
                inner = next(line.split()[-1] for line in about if line.startswith("NSpid:"))
            found[int(inner)] = int(child)
    return found


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as opened:
        return opened.read().strip()


def set_limits(limits: Mapping[str, tuple[int, int]]) -> None:
    """Resource limits by OCI's names (`RLIMIT_NOFILE`)."""
    for name, pair in limits.items():
        resource.setrlimit(getattr(resource, name), pair)


def set_oom_score_adj(value: int) -> None:
    """As wanted, or as near as this process may go: only CAP_SYS_RESOURCE may lower it below where it began."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as opened:
            opened.write(str(value))
    except PermissionError:
        pass


def oom_score_adj() -> int:
    """This process' own."""
    with open("/proc/self/oom_score_adj", encoding="ascii") as opened:
        return int(opened.read())


def sealed_copy(path: str) -> int:
    """A program in memory that nobody can change: who runs from it cannot be overwritten through /proc/PID/exe."""
    made = os.memfd_create(os.path.basename(path), os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as program:
        os.sendfile(made, program.fileno(), 0, os.fstat(program.fileno()).st_size)
    fcntl.fcntl(made, _F_ADD_SEALS, _SEALS)
    return made


def run_sealed(arguments: list[str], environment: Mapping[str, str]) -> None:
    """Replace this process by `python arguments...`, run from a sealed copy of the interpreter. Does not return."""
    program = sealed_copy(os.path.realpath(sys.executable))
    os.execve(program, [sys.executable, *arguments], dict(environment))


def peer(connection: socket.socket) -> tuple[int, int]:
    """(pid, uid) of who is at the other end of a unix socket, by the kernel's word."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("=iII", credentials)
    return pid, uid


def allow_many_files() -> None:
    """As many open files as this process may have at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_root(pidfd: int) -> int:
    """The root directory of a process, as a descriptor to enter it by."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as about:
        pid = next(int(line.split()[1]) for line in about if line.startswith("Pid:"))
    return os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
