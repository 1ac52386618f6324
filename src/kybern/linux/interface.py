"""What others ask of the kernel, as small protocols: depend on these, and be given `real` or `recording`."""

from typing import Protocol


class Mounts(Protocol):
    def bind(self, source: str, target: str, *, readonly: bool = False, recursive: bool = False) -> None:
        """Show `source` at `target`, which exists."""

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        """Show what `path` names inside `directory`, which no link leaves, at `target`, which is made like it."""

    def tmpfs(self, path: str, size_bytes: int = 0, mode: int = 0o755) -> None:
        """For what may be secret: it is never written to swap, where the kernel can do that."""

    def hugetlbfs(self, path: str, page_bytes: int) -> None: ...

    def unmount(self, path: str) -> None:
        """Nothing when nothing is mounted there."""


class Rules(Protocol):
    def apply(self, text: str, netns_path: str | None = None) -> None:
        """Load nftables rules: all of them or none."""

    def listing(self, family: str, table: str, netns_path: str | None = None) -> str: ...

    def delete_table(self, family: str, table: str, netns_path: str | None = None) -> None: ...


class NetNamespaces(Protocol):
    def create(self, path: str) -> None: ...

    def exists(self, path: str) -> bool: ...

    def remove(self, path: str) -> None: ...


class Kernel(Protocol):
    """All of them, for who needs several."""

    mounts: Mounts
    rules: Rules
    netns: NetNamespaces
