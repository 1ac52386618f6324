"""Where layers are made: directories on the store's own file system, and the two programs that fill and pack them."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kybern.runtime.apart import Broken, run_apart
from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.build.files import FileStep
from kybern.runtime.build.settings import Layer
from kybern.runtime.images.layout import Needed
from kybern.runtime.images.snapshots import chain_ids
from kybern.runtime.images.store import ImageStore

COPY_SECONDS = 1800.0
PACK_SECONDS = 1800.0
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True)
class Source:
    """A directory of the machine, or layers (the topmost first), of which some directories do not show."""

    directory: str = ""
    layers: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bench:
    """The directories for one step."""

    path: Path

    @property
    def upper(self) -> Path:
        return self.path / "upper"


class Workshop:
    def __init__(self, images: ImageStore) -> None:
        self.images = images
        self.directory = images.layout.directory / "building"
        shutil.rmtree(self.directory, ignore_errors=True)  # what a killed build left
        self.directory.mkdir(mode=0o700)

    @contextlib.contextmanager
    def bench(self) -> Iterator[Bench]:
        path = Path(tempfile.mkdtemp(dir=self.directory))
        for name in ("upper", "work", "empty", "source", "target"):
            (path / name).mkdir(mode=0o755)
        try:
            yield Bench(path)
        finally:
            shutil.rmtree(path, ignore_errors=True)

    async def digest(
        self, bench: Bench, source: Source, patterns: Sequence[str], ignore: str, exclude: Sequence[str]
    ) -> str:
        """Of what the files hold; DockerfileError where one is missing."""
        order = {"operation": "digest", "patterns": patterns, "ignore": ignore, "exclude": exclude}
        return str((await self._copying(bench, source, order))["digest"])

    async def copy(
        self, bench: Bench, source: Source, step: FileStep, ignore: str, layers: Sequence[str], owner: str = ""
    ) -> None:
        """Into the bench's upper directory, as seen on top of these layers."""
        order = {
            "operation": "copy",
            "patterns": step.patterns,
            "ignore": ignore,
            "exclude": step.exclude,
            "destination": step.destination,
            "inline": step.inline,
            "owner": step.owner or owner,
            "mode": step.mode,
            "unpack": step.unpack,
            "parents": step.parents,
            "target": {
                "layers": list(layers),
                "empty": str(bench.path / "empty"),
                "upper": str(bench.upper),
                "work": str(bench.path / "work"),
            },
        }
        await self._copying(bench, source, order)

    async def _copying(self, bench: Bench, source: Source, order: Mapping[str, Any]) -> dict[str, Any]:
        whole = json.dumps({**order, "source": asdict(source), "staging": str(bench.path)}).encode()
        try:
            answer = await run_apart("kybern.runtime.build.copying", (), whole, COPY_SECONDS, zstd=True)
        except (Broken, TimeoutError) as error:
            raise DockerfileError(f"cannot copy: {error or 'it takes too long'}") from error
        if "error" in answer:
            raise DockerfileError(str(answer["error"]))
        return answer

    async def pack(
        self, needed: Needed, upper: Path, layers: Sequence[str], diff_ids: Sequence[str], mounted: Sequence[str] = ()
    ) -> Layer | None:
        """What is in `upper` as a layer of the store, unpacked already and needed; None when there is nothing."""
        with self._archive() as archive:
            try:
                answer = await run_apart(
                    "kybern.runtime.build.layers",
                    (str(upper), str(archive), *layers),
                    json.dumps(mounted).encode(),
                    PACK_SECONDS,
                )
            except (Broken, TimeoutError) as error:
                raise DockerfileError(f"cannot make a layer: {error or 'it takes too long'}") from error
            if "error" in answer:
                raise DockerfileError(f"cannot make a layer: {answer['error']}")
            if "empty" in answer:
                return None
            layer = Layer(answer["diff_id"], answer["digest"], answer["size"], LAYER_TYPE)
            chain = (*diff_ids, layer.diff_id)
            needed.add(layer.digest, chain_ids(chain)[-1])
            os.replace(archive, self.images.layout.path(layer.digest))
            self.images.snapshots.adopt(upper, chain)
        return layer

    @contextlib.contextmanager
    def _archive(self) -> Iterator[Path]:
        """A file to pack into; it is gone afterwards unless it was moved."""
        descriptor, name = tempfile.mkstemp(dir=self.directory)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
