"""The few things volumes ask of the kernel, and what is mounted where."""

from typing import Protocol

MOUNT_TABLE = "/proc/self/mountinfo"


class Mounts(Protocol):
    def tmpfs(self, path: str, size_bytes: int) -> None:
        """A file system in memory at `path`; without a limit of its own where `size_bytes` is 0."""

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        """Mount what `path` names inside `directory` at `target`, which is made as a file or directory like it.

        No link in `path` leads out of `directory`; a missing `path` is made as a directory.
        """

    def unmount(self, path: str) -> None: ...


class NoMounts:
    """For tests without privileges: memory is a plain directory."""

    def tmpfs(self, path: str, size_bytes: int) -> None:
        return

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        raise OSError("this machine has no bind mounts")

    def unmount(self, path: str) -> None:
        return


def mounted_beneath(directory: str, table: str | None = None) -> list[str]:
    """Mount points in a directory or at it, the innermost first."""
    if table is None:
        with open(MOUNT_TABLE, encoding="utf-8", errors="surrogateescape") as opened:
            table = opened.read()
    points = [_unescaped(line.split(" ")[4]) for line in table.splitlines() if line.count(" ") > 4]
    inside = [point for point in points if point == directory or point.startswith(f"{directory}/")]
    return sorted(inside, key=len, reverse=True)


def _unescaped(text: str) -> str:
    for code, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, plain)
    return text
