"""Namespaces: the kinds in the order they are entered, and how one outlives its processes.

The user namespace comes first, since it decides what may be done to the others; the mount namespace last, since it
hides the paths by which the others are found.
"""

import os
import threading
from collections.abc import Callable, Mapping

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


def pin(paths: Mapping[int, str], prepare: Callable[[], None] = lambda: None) -> None:
    """New namespaces of these kinds (not user, pid or mount), kept by a mount at each path.

    `prepare` runs inside them. A thread of its own makes them, so the caller's namespaces never change.
    """
    failures: list[BaseException] = []

    def make() -> None:
        try:
            kinds = 0
            for kind in paths:
                kinds |= kind
            unshare(kinds)
            prepare()
            for kind, path in paths.items():
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                mounts.bind(f"/proc/thread-self/ns/{FILES[kind]}", path)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that asked
            failures.append(error)

    thread = threading.Thread(target=make, name="namespaces")
    thread.start()
    thread.join()
    if failures:
        for path in paths.values():
            mounts.unmount(path)
        raise failures[0]
