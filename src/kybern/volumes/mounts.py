"""What volumes ask of the kernel, without a kernel; and what is mounted where."""

from kybern.linux.mounts import mount_points


class NoMounts:
    """`linux.interface.Mounts` for tests without privileges: memory is a plain directory."""

    def bind(self, source: str, target: str, *, readonly: bool = False, recursive: bool = False) -> None:
        raise OSError("this machine has no bind mounts")

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        raise OSError("this machine has no bind mounts")

    def tmpfs(self, path: str, size_bytes: int = 0, mode: int = 0o755) -> None:
        return

    def hugetlbfs(self, path: str, page_bytes: int) -> None:
        return

    def unmount(self, path: str) -> None:
        return


def mounted_beneath(directory: str) -> list[str]:
    """Mount points in a directory or at it, the last made first."""
    points = [point.path for point in mount_points()]
    return [path for path in reversed(points) if path == directory or path.startswith(f"{directory}/")]
