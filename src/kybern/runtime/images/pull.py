"""A pull: from a name to unpacked layers. Blobs come in parallel, are verified as they are written, and are continued
where an earlier attempt stopped; layers are unpacked from the lowest up."""

import asyncio
from collections.abc import Sequence

from kybern.runtime.images import manifest as documents
from kybern.runtime.images.batches import batches
from kybern.runtime.images.layout import Incoming, Layout, Needed
from kybern.runtime.images.manifest import CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX, BadImage, Descriptor, Manifest
from kybern.runtime.images.reference import Reference
from kybern.runtime.images.registry import Registry, RegistryError
from kybern.runtime.images.snapshots import Snapshots, chain_ids

PARALLEL_LAYERS = 3
ATTEMPTS_MAX = 4
INDEX_DEPTH_MAX = 3


async def pull(
    registry: Registry, reference: Reference, layout: Layout, snapshots: Snapshots, needed: Needed
) -> Descriptor:
    """The manifest, with everything it names on disk and unpacked."""
    asked = reference.asked
    found = await resolve(registry, asked, layout)
    manifest = read_manifest(layout, found.digest)
    needed.add(found.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers))
    await fetch(registry, layout, manifest.config)
    diff_ids = documents.diff_ids(read_config(layout, manifest), len(manifest.layers))
    needed.add(*chain_ids(diff_ids))
    gate = asyncio.Semaphore(PARALLEL_LAYERS)

    async def one(layer: Descriptor) -> None:
        async with gate:
            await fetch(registry, layout, layer)

    try:
        async with asyncio.TaskGroup() as tasks:
            fetches = [tasks.create_task(one(layer)) for layer in manifest.layers]
            await unpack_all(snapshots, layout, manifest.layers, diff_ids, fetches)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
    return found


async def unpack_all(
    snapshots: Snapshots,
    layout: Layout,
    layers: Sequence[Descriptor],
    diff_ids: Sequence[str],
    fetches: "Sequence[asyncio.Task[None]] | None" = None,
) -> None:
    """Each as soon as it and those below it are there."""
    for number, layer in enumerate(layers):
        if fetches is not None:
            await fetches[number]
        compression = documents.COMPRESSION[layer.media_type]
        await snapshots.unpack(layout.path(layer.digest), compression, diff_ids[: number + 1])


async def resolve(registry: Registry, asked: str, layout: Layout) -> Descriptor:
    """From a tag or digest to a manifest for this machine, through indexes."""
    for _ in range(INDEX_DEPTH_MAX):
        body, announced = await registry.manifest(asked)
        digest = layout.put(body)
        if asked.startswith("sha256:") and asked != digest:
            raise BadImage(f"manifest has digest {digest}, expected {asked}")
        found = documents.decode(body, "manifest")
        kind = documents.media_type_of(found, announced)
        if kind in documents.MANIFEST_TYPES:
            return Descriptor(kind, digest, len(body))
        asked = documents.choose(found).digest
    raise BadImage(f"indexes are nested more than {INDEX_DEPTH_MAX} deep")


def read_manifest(layout: Layout, digest: str) -> Manifest:
    return documents.parse_manifest(documents.decode(layout.read(digest, MANIFEST_BYTES_MAX), "manifest"), digest)


def read_config(layout: Layout, manifest: Manifest) -> dict[str, object]:
    return documents.decode(layout.read(manifest.config.digest, CONFIG_BYTES_MAX), "configuration")


async def fetch(registry: Registry, layout: Layout, wanted: Descriptor) -> None:
    """A blob, unless it is there; what breaks off is continued. Two images may bring the same one at once."""
    async with layout.fetching.setdefault(wanted.digest, asyncio.Lock()):
        if not layout.has(wanted.digest):
            await fetch_missing(registry, layout, wanted)


async def fetch_missing(registry: Registry, layout: Layout, wanted: Descriptor) -> None:
    for attempt in range(1, ATTEMPTS_MAX + 1):
        with await asyncio.to_thread(Incoming, layout, wanted.digest) as incoming:
            before = incoming.size
            try:
                await receive(registry, incoming, wanted)
                return
            except RegistryError:
                if attempt == ATTEMPTS_MAX or incoming.size == before:
                    raise


async def receive(registry: Registry, incoming: Incoming, wanted: Descriptor) -> None:
    if incoming.size >= wanted.size:
        incoming.restart()
    continued, pieces = await registry.blob(wanted.digest, incoming.size)
    if not continued:
        incoming.restart()
    async for batch in batches(pieces):
        if incoming.size + len(batch) > wanted.size:
            incoming.restart()
            raise BadImage(f"blob {wanted.digest} is longer than the {wanted.size} bytes it was said to have")
        await asyncio.to_thread(incoming.write, batch)
    if incoming.size != wanted.size:
        raise RegistryError(f"blob {wanted.digest} ended after {incoming.size} of {wanted.size} bytes")
    incoming.commit()
