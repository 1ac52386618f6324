"""The kernel of this machine, behind the protocols of `interface`."""

from kybern.linux import interface, mounts, netns, nft


class RealMounts:
    def bind(self, source: str, target: str, *, readonly: bool = False, recursive: bool = False) -> None:
        mounts.bind(source, target, readonly=readonly, recursive=recursive)

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        mounts.bind_beneath(directory, path, target)

    def tmpfs(self, path: str, size_bytes: int = 0, mode: int = 0o755) -> None:
        mounts.tmpfs(path, size_bytes, mode, swapped=False)

    def hugetlbfs(self, path: str, page_bytes: int) -> None:
        mounts.hugetlbfs(path, page_bytes)

    def unmount(self, path: str) -> None:
        mounts.unmount(path)


class RealRules:
    def apply(self, text: str, netns_path: str | None = None) -> None:
        nft.apply(text, netns_path)

    def listing(self, family: str, table: str, netns_path: str | None = None) -> str:
        return nft.listing(family, table, netns_path)

    def delete_table(self, family: str, table: str, netns_path: str | None = None) -> None:
        nft.delete_table(family, table, netns_path)


class RealNetNamespaces:
    def create(self, path: str) -> None:
        netns.create(path)

    def exists(self, path: str) -> bool:
        return netns.exists(path)

    def remove(self, path: str) -> None:
        netns.remove(path)


class RealKernel:
    def __init__(self) -> None:
        self.mounts: interface.Mounts = RealMounts()
        self.rules: interface.Rules = RealRules()
        self.netns: interface.NetNamespaces = RealNetNamespaces()
