"""A kernel that only writes down what it was asked, for tests without privileges."""

from kybern.linux import interface


class RecordingMounts:
    def __init__(self, calls: list[tuple[str, ...]]) -> None:
        self.calls = calls

    def bind(self, source: str, target: str, *, readonly: bool = False, recursive: bool = False) -> None:
        flags = tuple(name for name, on in (("readonly", readonly), ("recursive", recursive)) if on)
        self.calls.append(("bind", source, target, *flags))

    def bind_beneath(self, directory: str, path: str, target: str) -> None:
        self.calls.append(("bind_beneath", directory, path, target))

    def tmpfs(self, path: str, size_bytes: int = 0, mode: int = 0o755) -> None:
        self.calls.append(("tmpfs", path, str(size_bytes), f"{mode:o}"))

    def hugetlbfs(self, path: str, page_bytes: int) -> None:
        self.calls.append(("hugetlbfs", path, str(page_bytes)))

    def unmount(self, path: str) -> None:
        self.calls.append(("unmount", path))


class RecordingRules:
    def __init__(self, calls: list[tuple[str, ...]]) -> None:
        self.calls = calls
        self.tables: dict[tuple[str, str], str] = {}

    def apply(self, text: str, netns_path: str | None = None) -> None:
        self.calls.append(("nft", text, netns_path or ""))

    def listing(self, family: str, table: str, netns_path: str | None = None) -> str:
        return self.tables.get((family, table), "")

    def delete_table(self, family: str, table: str, netns_path: str | None = None) -> None:
        self.calls.append(("delete_table", family, table, netns_path or ""))


class RecordingNetNamespaces:
    def __init__(self, calls: list[tuple[str, ...]]) -> None:
        self.calls = calls
        self.paths: set[str] = set()

    def create(self, path: str) -> None:
        self.calls.append(("create_netns", path))
        self.paths.add(path)

    def exists(self, path: str) -> bool:
        return path in self.paths

    def remove(self, path: str) -> None:
        self.calls.append(("remove_netns", path))
        self.paths.discard(path)


class RecordingKernel:
    """`calls` holds every call in order, each a tuple that begins with its name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.mounts: interface.Mounts = RecordingMounts(self.calls)
        self.rules: interface.Rules = RecordingRules(self.calls)
        self.netns: interface.NetNamespaces = RecordingNetNamespaces(self.calls)
