"""Blobs on their way into a registry: in pieces or at once, named by their digest when they are whole.

An upload has a name of its own and a file below `uploads`; one that nobody continues is forgotten, and so are all of them
when the registry starts. A blob that is whole waits as long for a manifest to name it.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.runtime.images.batches import batches
from kybern.runtime.images.layout import Layout, Needed
from kybern.runtime.images.manifest import LAYER_BYTES_MAX

UPLOADS_MAX = 100
UPLOAD_SECONDS = 3600.0


class Refusal(Exception):
    """An answer of the distribution specification's table of errors."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(slots=True)
class Upload:
    identifier: str
    path: Path
    begun: float
    size: int = 0
    hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def write(self, piece: bytes) -> None:
        """Blocks: call it in a thread."""
        with self.path.open("ab") as opened:
            opened.write(piece)
        self.hash.update(piece)
        self.size += len(piece)


class Uploads:
    def __init__(self, layout: Layout, clock: Clock, ids: Ids) -> None:
        self.layout, self.clock, self.ids = layout, clock, ids
        self.by_id: dict[str, Upload] = {}
        self.finished: dict[str, float] = {}
        """When, by digest."""
        self.needed = Needed(layout)
        layout.arriving.add(self.needed)
        self.directory = layout.directory / "uploads"
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for left in self.directory.iterdir():
            left.unlink()

    def begin(self) -> Upload:
        now = self.clock.monotonic()
        for old in [each for each in self.by_id.values() if now - each.begun > UPLOAD_SECONDS]:
            self.forget(old.identifier)
        self.named(*(digest for digest, at in self.finished.items() if now - at > UPLOAD_SECONDS))
        if len(self.by_id) >= UPLOADS_MAX:
            raise Refusal(429, "TOOMANYREQUESTS", "too many uploads are under way")
        identifier = self.ids.uid()
        upload = self.by_id[identifier] = Upload(identifier, self.directory / identifier, now)
        os.close(os.open(upload.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        return upload

    def get(self, identifier: str) -> Upload:
        found = self.by_id.get(identifier)
        if found is None:
            raise Refusal(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        return found

    def forget(self, identifier: str) -> None:
        self.get(identifier).path.unlink(missing_ok=True)
        del self.by_id[identifier]

    async def receive(self, upload: Upload, pieces: AsyncIterator[bytes], begin: int | None) -> None:
        """`begin` is where the sender says that they belong."""
        if begin is not None and begin != upload.size:
            raise Refusal(416, "BLOB_UPLOAD_INVALID", "the pieces are not in order")
        async for batch in batches(pieces):
            if upload.size + len(batch) > LAYER_BYTES_MAX:
                raise Refusal(413, "SIZE_INVALID", "the blob is larger than is accepted")
            await asyncio.to_thread(upload.write, batch)

    def finish(self, upload: Upload, digest: str) -> None:
        if digest != f"sha256:{upload.hash.hexdigest()}":
            self.forget(upload.identifier)
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.finished[digest] = self.clock.monotonic()
        self.needed.add(digest)
        upload.path.replace(self.layout.path(digest))
        del self.by_id[upload.identifier]

    def named(self, *digests: str) -> None:
        """A manifest has come for these blobs, or none will."""
        self.needed.digests.difference_update(digests)
        for digest in digests:
            self.finished.pop(digest, None)
