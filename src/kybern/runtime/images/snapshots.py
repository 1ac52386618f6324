"""Unpacked layers, each once, named by everything it lies on (its chain id): shared as lower directories of overlays.

A layer is unpacked under a temporary name and renamed when it is complete and its digest is right. What a crash left
under a temporary name is removed at the next start (`sweep`), so nothing half is ever used.
"""

import asyncio
import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from kybern.runtime.images.manifest import BadImage

SOURCE = Path(__file__).parents[3]
PROGRAM = "import sys; sys.path[:0] = sys.argv.pop(1).split(':'); from kybern.runtime.images.unpack import main; main(sys.argv[1:])"
UNPACK_SECONDS = 900.0
NEW = ".new-"


class Snapshots:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.locks: dict[str, asyncio.Lock] = {}

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

    def keep_only(self, chains: Iterable[str]) -> None:
        wanted = {self.path(chain).name for chain in chains}
        for path in self.directory.iterdir():
            if path.name not in wanted and not path.name.startswith("."):
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
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-c", PROGRAM, ":".join(import_path(compression)), compression, str(target), *parents),
            stdin=opened,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        )
        try:
            async with asyncio.timeout(UNPACK_SECONDS):
                output, _ = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
    try:
        answer = json.loads(output)
    except ValueError:
        raise BadImage(f"the process that unpacks a layer ended with {process.returncode}") from None
    if "error" in answer:
        raise BadImage(f"failed to extract layer: {answer['error']}")
    return str(answer["diff_id"])


def import_path(compression: str) -> list[str]:
    found = [str(SOURCE)]
    spec = find_spec("backports.zstd") if compression == "zstd" and sys.version_info < (3, 14) else None
    if spec is not None and spec.origin is not None:
        found.append(str(Path(spec.origin).parents[2]))
    return found
