"""Images on disk, as an OCI image layout: blobs named by their digest, and an index of names.

    blobs/sha256/<hex>      complete and verified, or not there
    ingest/<hex>            on its way; what is there of it is continued
    index.json              name -> manifest

A blob gets its name only after its digest was computed from the very bytes that were written.
"""

import asyncio
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from kybern.runtime.images.manifest import CONFIG_BYTES_MAX, CONFIG_TYPE, MANIFEST_TYPES, BadImage, Descriptor
from kybern.runtime.images.reference import DIGEST

NAME = "org.opencontainers.image.ref.name"
HASH_PIECE = 1 << 20
ARCHIVE = ".archive-"  # files of `ingest` that have no digest yet


class Layout:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.blobs = directory / "blobs" / "sha256"
        self.ingest = directory / "ingest"
        for path in (self.blobs, self.ingest):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.names: dict[str, Descriptor] = dict(self._read_index())
        self.fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By digest: who writes a blob does it alone."""
        self.arriving: set[Needed] = set()
        self.arrived: set[str] | None = None
        """While room is made: what has arrived since then."""
        for path in self.ingest.glob(f"{ARCHIVE}*"):  # a process that was reading one was killed
            path.unlink()

    def path(self, digest: str) -> Path:
        if not DIGEST.fullmatch(digest):
            raise BadImage(f"unsupported digest {digest[:100]!r}")
        return self.blobs / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return self.path(digest).exists()

    def read(self, digest: str, bytes_max: int) -> bytes:
        with self.path(digest).open("rb") as opened:
            return opened.read(bytes_max)

    def is_needed(self, digest: str) -> bool:
        return digest in (self.arrived or ()) or any(digest in needed.digests for needed in tuple(self.arriving))

    def bytes_held(self) -> int:
        return sum(path.stat().st_size for path in self.blobs.iterdir())

    def put(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with Needed(self) as needed:
            needed.add(digest)
            if not self.has(digest):
                with Incoming(self, digest) as incoming:
                    incoming.restart()
                    incoming.write(data)
                    incoming.commit()
        return digest

    def put_manifest(self, config: Descriptor, layers: Sequence[Descriptor]) -> Descriptor:
        """BadImage when the configuration is larger than is ever read."""
        if config.size > CONFIG_BYTES_MAX:
            raise BadImage("configuration is too large")
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPES[0],
                "config": {"mediaType": CONFIG_TYPE, "digest": config.digest, "size": config.size},
                "layers": [{"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in layers],
            }
        ).encode()
        return Descriptor(MANIFEST_TYPES[0], self.put(body), len(body))

    def tag(self, name: str, manifest: Descriptor) -> None:
        self.names[name] = manifest
        self._write_index()

    def untag(self, name: str) -> None:
        if self.names.pop(name, None) is not None:
            self._write_index()

    def _read_index(self) -> Iterator[tuple[str, Descriptor]]:
        try:
            found = json.loads((self.directory / "index.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return
        for entry in found["manifests"]:
            yield entry["annotations"][NAME], Descriptor(entry["mediaType"], entry["digest"], entry["size"])

    def _write_index(self) -> None:
        entries: list[dict[str, Any]] = [
            {
                "mediaType": manifest.media_type or MANIFEST_TYPES[0],
                "digest": manifest.digest,
                "size": manifest.size,
                "annotations": {NAME: name},
            }
            for name, manifest in sorted(self.names.items())
        ]
        temporary = self.directory / ".index.json"
        temporary.write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
        os.replace(temporary, self.directory / "index.json")


class Needed:
    """What is brought for an image that has no name yet: who makes room meanwhile leaves it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.digests: set[str] = set()

    def add(self, *digests: str) -> None:
        """Of blobs, or chain ids of layers."""
        self.digests.update(digests)

    def __enter__(self) -> Self:
        self.layout.arriving.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self.layout.arrived is not None:
            self.layout.arrived |= self.digests
        self.layout.arriving.discard(self)


class Incoming:
    """A blob on its way. What an earlier attempt left is kept, hashed again and continued. Blocks, where it is large."""

    def __init__(self, layout: Layout, digest: str) -> None:
        self.layout, self.digest = layout, digest
        self.target = layout.path(digest)
        self.partial = layout.ingest / self.target.name
        self.file = self.partial.open("a+b")
        self.hash = hashlib.sha256()
        self.size = 0
        self.file.seek(0)
        while piece := self.file.read(HASH_PIECE):
            self.hash.update(piece)
            self.size += len(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """On a full disk the beginning of a blob is in the way of everything else."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            self.partial.unlink(missing_ok=True)
        self.file.close()

    def restart(self) -> None:
        self.file.truncate(0)
        self.hash, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.hash.update(data)
        self.size += len(data)
        self.file.write(data)

    def commit(self) -> None:
        """BadImage when it is not what its name says; then nothing of it stays."""
        self.file.flush()
        found = f"sha256:{self.hash.hexdigest()}"
        if found != self.digest:
            self.partial.unlink(missing_ok=True)
            raise BadImage(f"unexpected commit digest {found}, expected {self.digest}")
        os.replace(self.partial, self.target)
