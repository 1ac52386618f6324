"""The layers of earlier builds, by everything they came from: a step whose key is known is not done again.

One small file a step. A record says which layer a step made (or that it changed nothing); the layer itself lies in the image
store, which keeps what a record leads to until the cache is pruned.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kybern.runtime import disk
from kybern.runtime.build.settings import Layer
from kybern.runtime.images.store import Kept


@dataclass(frozen=True, slots=True)
class Record:
    below: tuple[str, ...]
    """The diff ids of the layers that it lies on."""
    layer: Layer | None
    """None where it changed nothing."""
    created: str
    used_at: float


class BuildCache:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find(self, key: str, now: float) -> Record | None:
        found = disk.load(self.directory / f"{key}.json", Record)
        if found is not None:
            self.keep(key, replace(found, used_at=now))
        return found

    def keep(self, key: str, record: Record) -> None:
        disk.save(self.directory / f"{key}.json", record)

    def records(self) -> Iterator[Record]:
        for name in disk.names(self.directory):
            found = disk.load(self.directory / name, Record)
            if found is not None:
                yield found

    def kept(self) -> Iterator[Kept]:
        """What the image store may not remove."""
        for record in self.records():
            if record.layer is not None:
                yield Kept(record.layer.digest, (*record.below, record.layer.diff_id))

    def forget_all(self) -> None:
        """The layers themselves go with the store's next collection."""
        for name in list(disk.names(self.directory)):
            (self.directory / name).unlink(missing_ok=True)
