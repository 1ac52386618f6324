"""The machine's own root as a container's root, where our root is one of a user namespace only.

An overlay of `/` as a whole is not to be had there: mounts of the machine lie on it, and the kernel keeps what they cover
from being uncovered. So the top is made anew, in memory, and each of its directories that is shown is an overlay of its
own. Their own top directories belong to the container's root, who can make files and mount targets in them; below, what is
the machine's root's is nobody's.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence, Set

from kybern.linux import mounts

WRITABLE_BY_ALL = ("/tmp", "/var/tmp")
MODE = 0o755


def mount_host_root(staging: str, hidden: Sequence[str]) -> list[int]:
    """Descriptors of the mounts that it consists of, the root first; at `staging`, which only this process sees."""
    mounts.tmpfs(staging, mode=MODE)
    root = f"{staging}/root"
    os.mkdir(root, MODE)
    mounts.tmpfs(root, mode=MODE)
    shown = list(_make_anew("/", root, frozenset(hidden)))
    found = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    return [*found, *(_show(path, f"{root}{path}", staging, hidden) for path in shown)]


def _make_anew(directory: str, root: str, hidden: Set[str]) -> Iterator[str]:
    """Its links and directories, empty; yields those that are to be filled. One that has hidden directories only, as /var,
    is made anew itself."""
    entries = [entry for entry in os.scandir(directory) if entry.is_symlink() or entry.is_dir()]
    for entry in entries:
        made = f"{root}{entry.path}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), made)
            continue
        os.mkdir(made)
        os.chmod(made, 0o1777 if entry.path in WRITABLE_BY_ALL else MODE)
        if entry.path not in hidden:
            below = [found for found in os.scandir(entry.path) if found.is_dir(follow_symlinks=False)]
            if below and all(found.path in hidden for found in below):
                yield from _make_anew(entry.path, root, hidden)
            else:
                yield entry.path


def _show(path: str, target: str, staging: str, hidden: Iterable[str]) -> int:
    top, gone, upper, work = (f"{staging}/{part}{path}" for part in ("top", "gone", "upper", "work"))
    for directory in (top, gone, upper, work):
        os.makedirs(directory, MODE)
    private = [found for found in hidden if found.startswith(f"{path}/")]
    for found in private:
        _hide(found, f"{staging}/top", f"{staging}/gone")
    try:
        made = mounts.overlay([top, gone, path], upper, work)
    except OSError:  # something is mounted in it too: as it is, then, and what is private covered
        made = mounts.clone(path, recursive=True)
        mounts.change(made, add=mounts.RDONLY, propagation=mounts.PRIVATE, recursive=True)
        mounts.attach_at(os.dup(made), target)
        for found in private:
            mounts.attach_at(mounts.clone(f"{staging}/top{found}"), f"{target}{found.removeprefix(path)}")
        return made
    mounts.attach_at(os.dup(made), target)
    return made


def _hide(path: str, top: str, gone: str) -> None:
    """A whiteout in one layer, and something empty in the one above: neither needs an attribute of overlayfs."""
    above = os.path.dirname(path)
    for layer in (top, gone):
        os.makedirs(f"{layer}{above}", MODE, exist_ok=True)
    os.mknod(f"{gone}{path}", stat.S_IFCHR, 0)
    if os.path.isdir(path):
        os.mkdir(f"{top}{path}", MODE)
    else:
        os.close(os.open(f"{top}{path}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
