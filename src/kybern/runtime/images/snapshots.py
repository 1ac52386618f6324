"""Unpacked layers, each once, named by everything it lies on (its chain id): shared as lower directories of overlays.

A layer is unpacked under a temporary name and renamed when it is complete and its digest is right. What a crash left
under a temporary name is removed at the next start (`sweep`), so nothing half is ever used.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from kybern.runtime.apart import Broken, run_apart
from kybern.runtime.images.manifest import BadImage

UNPACK_SECONDS = 900.0
NEW = ".new-"


class Snapshots:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def sweep(self) -> None:
        for path in self.directory.glob(f"{NEW}*"):
            shutil.rmtree(path, ignore_errors=True)

    def path(self, chain: str) -> Path:
        return self.directory / chain.removeprefix("sha256:")

    def has(self, chain: str) -> bool:
        return self.path(chain).is_dir()

    def layers(self, diff_ids: Sequence[str]) -> tuple[str, ...] | None:
        """The directories of an image, the topmost first; None when one is missing."""
        paths = [self.path(chain) for chain in chain_ids(diff_ids)]
        return tuple(str(path) for path in reversed(paths)) if all(path.is_dir() for path in paths) else None

    async def unpack(self, blob: Path, compression: str, diff_ids: Sequence[str]) -> None:
        """The last of these layers, on top of the others. BadImage when it is not what its digest says."""
        chains = chain_ids(diff_ids)
        async with self.locks.setdefault(chains[-1], asyncio.Lock()):
            if self.has(chains[-1]):
                return
            parents = [str(self.path(chain)) for chain in reversed(chains[:-1])]
            made = self.directory / f"{NEW}{chains[-1].removeprefix('sha256:')}"
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(mode=0o755)
            try:
                found = await run_unpack(blob, compression, made, parents)
                if found != diff_ids[-1]:
                    raise BadImage(f"wrong diff id calculated on extraction {found!r}, expected {diff_ids[-1]!r}")
                made.rename(self.path(chains[-1]))
            finally:
                if made.exists():
                    await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    def adopt(self, directory: Path, diff_ids: Sequence[str]) -> None:
        """A layer that was made here: its directory, which lies on the same file system, becomes the snapshot."""
        target = self.path(chain_ids(diff_ids)[-1])
        if not target.exists():
            directory.rename(target)

    def keep_only(self, is_wanted: Callable[[str], bool]) -> None:
        for path in self.directory.iterdir():
            if not path.name.startswith(".") and not is_wanted(f"sha256:{path.name}"):
                shutil.rmtree(path, ignore_errors=True)


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """OCI image spec: a layer's chain id covers it and all below it."""
    found: list[str] = []
    for diff_id in diff_ids:
        if found:
            joined = f"{found[-1]} {diff_id}".encode()
            diff_id = f"sha256:{hashlib.sha256(joined).hexdigest()}"
        found.append(diff_id)
    return found


async def run_unpack(blob: Path, compression: str, target: Path, parents: Sequence[str]) -> str:
    """In a fresh interpreter; its diff id."""
    with blob.open("rb") as opened:
        try:
            answer = await run_apart(
                "kybern.runtime.images.unpack",
                (compression, str(target), *parents),
                opened,
                UNPACK_SECONDS,
                zstd=compression == "zstd",
            )
        except Broken as error:
            raise BadImage(f"failed to extract layer: {error}") from error
    if "error" in answer:
        raise BadImage(f"failed to extract layer: {answer['error']}")
    return str(answer["diff_id"])
