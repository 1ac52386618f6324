"""A push: the blobs that the registry lacks, in pieces, then the manifest that names them."""

import asyncio

from kybern.runtime.images.layout import Layout
from kybern.runtime.images.manifest import MANIFEST_BYTES_MAX, Descriptor
from kybern.runtime.images.pull import read_manifest
from kybern.runtime.images.registry import Registry

PIECE = 8 << 20


async def push(registry: Registry, layout: Layout, found: Descriptor) -> None:
    """RegistryError when the registry does not take it."""
    manifest = read_manifest(layout, found.digest)
    for blob in (*manifest.layers, manifest.config):
        if not await registry.has_blob(blob.digest):
            await send(registry, layout, blob)
    body = layout.read(found.digest, MANIFEST_BYTES_MAX)
    await registry.put_manifest(registry.reference.asked, found.media_type, body)


async def send(registry: Registry, layout: Layout, blob: Descriptor) -> None:
    address = await registry.begin_upload()
    offset = 0
    with layout.path(blob.digest).open("rb") as opened:
        while piece := await asyncio.to_thread(opened.read, PIECE):
            address = await registry.send_piece(address, offset, piece)
            offset += len(piece)
    await registry.finish_upload(address, blob.digest)
