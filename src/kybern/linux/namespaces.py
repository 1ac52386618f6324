"""Namespaces: the kinds in the order they are entered, and how one outlives its processes.

The user namespace comes first, since it decides what may be done to the others; the mount namespace last, since it
hides the paths by which the others are found.
"""

import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import NoReturn

from kybern.linux import mounts
from kybern.linux.syscalls import call

NEWNS = 0x0002_0000
NEWCGROUP = 0x0200_0000
NEWUTS = 0x0400_0000
NEWIPC = 0x0800_0000
NEWUSER = 0x1000_0000
NEWPID = 0x2000_0000
NEWNET = 0x4000_0000

IN_ORDER: Mapping[str, int] = {
    "user": NEWUSER,
    "cgroup": NEWCGROUP,
    "ipc": NEWIPC,
    "uts": NEWUTS,
    "network": NEWNET,
    "pid": NEWPID,
    "mount": NEWNS,
}
FILES: Mapping[int, str] = {
    NEWUSER: "user",
    NEWCGROUP: "cgroup",
    NEWIPC: "ipc",
    NEWUTS: "uts",
    NEWNET: "net",
    NEWPID: "pid",
    NEWNS: "mnt",
}


def unshare(kinds: int) -> None:
    call("unshare", kinds, about="unshare")


def setns(descriptor: int, kind: int = 0) -> None:
    call("setns", descriptor, kind, about="setns")


def sethostname(name: str) -> None:
    encoded = name.encode()
    call("sethostname", encoded, len(encoded), about="sethostname")


def inside(paths: Mapping[int, str], run: Callable[[], None]) -> None:
    """Run it in pinned namespaces (not user, pid or mount), in a thread of its own."""

    def enter() -> None:
        for kind, path in paths.items():
            opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                setns(opened, kind)
            finally:
                os.close(opened)
        run()

    _in_a_thread(enter)


def pin_owned(paths: Mapping[int, str], host_id: int, length: int) -> None:
    """New namespaces that belong to a new user namespace, whose ids 0..length-1 are `host_id`.. of the machine; the user
    namespace itself is one of the paths. The caller must have one thread, since it forks."""
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        _hold_owned(there, paths)
    there.close()
    try:
        _expect(here, b"u")
        for table in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{table}", "w", encoding="ascii") as opened:
                opened.write(f"0 {host_id} {length}\n")
        here.send(b"m")
        _expect(here, b"n")
        _pin_of(f"/proc/{child}", paths)
    except OSError:
        _unpin(paths)
        raise
    finally:
        here.close()
        os.waitpid(child, 0)


def _expect(connection: socket.socket, word: bytes) -> None:
    answer = connection.recv(64)
    if answer != word:
        number = int(answer) if answer.isdigit() else errno.EIO
        raise OSError(number, f"new namespaces: {os.strerror(number)}")


def _hold_owned(connection: socket.socket, paths: Mapping[int, str]) -> NoReturn:
    """Be in the new namespaces until they are pinned."""
    try:
        unshare(NEWUSER)
        connection.send(b"u")
        if connection.recv(1) == b"m":
            unshare(sum(kind for kind in paths if kind != NEWUSER))
            connection.send(b"n")
            connection.recv(1)
    except OSError as error:
        connection.send(str(error.errno).encode())
    finally:
        os._exit(0)


def _pin_of(process: str, paths: Mapping[int, str]) -> None:
    for kind, path in paths.items():
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        mounts.bind(f"{process}/ns/{FILES[kind]}", path)


def _unpin(paths: Mapping[int, str]) -> None:
    for path in paths.values():
        mounts.unmount(path)


def pin(paths: Mapping[int, str], prepare: Callable[[], None] = lambda: None) -> None:
    """New namespaces of these kinds (not user, pid or mount), kept by a mount at each path.

    `prepare` runs inside them. A thread of its own makes them, so the caller's namespaces never change.
    """

    def make() -> None:
        unshare(sum(paths))
        prepare()
        _pin_of("/proc/thread-self", paths)

    try:
        _in_a_thread(make)
    except BaseException:
        _unpin(paths)
        raise


def _in_a_thread(run: Callable[[], None]) -> None:
    """Whose namespaces then are nobody else's."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001 - carried to the thread that asked
            failures.append(error)

    thread = threading.Thread(target=guarded, name="namespaces")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
