"""Network namespaces by path: made, entered for a moment, removed.

A namespace belongs to a thread, and a socket keeps the one it was made in. So `inside` may be used on any thread as
long as nothing is awaited within it: open the sockets there and use them afterwards.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kybern.linux import mounts
from kybern.linux.namespaces import NEWNET, pin, setns


def create(path: str) -> None:
    """A new, empty network namespace that lives as long as its file. Nothing when it exists already."""
    if exists(path):
        return
    pin({NEWNET: path})


def exists(path: str) -> bool:
    """Is a namespace at the path, and not just the file it is to be mounted on?"""
    try:
        return os.stat(path).st_dev == os.stat("/proc/self/ns/net").st_dev
    except FileNotFoundError:
        return False


def remove(path: str) -> None:
    """Unpin the namespace; it ends with the last process and socket in it."""
    mounts.unmount(path)
    Path(path).unlink(missing_ok=True)


@contextmanager
def inside(path: str | None) -> Iterator[None]:
    """This thread in another network namespace; None is the one it is in."""
    if path is None:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(there, NEWNET)
        finally:
            os.close(there)
        try:
            yield
        finally:
            setns(home, NEWNET)
    finally:
        os.close(home)
