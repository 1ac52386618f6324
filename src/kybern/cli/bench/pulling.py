"""An image of half a gigabyte, pulled from a registry on loopback: how much longer that takes than what nobody can do without.

That is reading the layer once for its digest and unpacking it, as `sha256sum` and `tar` do it with the same file on the same
disk; so the figure says what the way through Python costs, whatever the disk.
"""

import asyncio
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import tarfile
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.cli.bench.figures import PULL, Figure
from kybern.runtime.images.endpoint import RegistryEndpoint
from kybern.runtime.images.layout import Layout
from kybern.runtime.images.manifest import CONFIG_TYPE, Descriptor
from kybern.runtime.images.store import ImageStore
from kybern.web.server import serve

FILES, FILE_BYTES, FILES_OF_A_DIRECTORY = 5_000, 100_000, 100
BLOCK_BYTES = 1 << 20
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


async def pulled() -> Figure:
    directory = Path(tempfile.mkdtemp(prefix="kybern-bench-"))
    try:
        layer = directory / "layer"
        diff_id = await asyncio.to_thread(make_layer, layer)
        async with published(directory / "from", layer, diff_id) as name:
            least = await seconds_of("sha256sum", str(layer))
            (directory / "unpacked").mkdir()
            least += await seconds_of("tar", "xzf", str(layer), "-C", str(directory / "unpacked"))
            began = time.monotonic()
            await ImageStore(directory / "to", host_image=False).pull(name)
            return Figure(PULL, 100 * (time.monotonic() - began) / least)
    finally:
        shutil.rmtree(directory)


def make_layer(path: Path) -> str:
    """Files of which half can be compressed; the digest of the archive itself."""
    block = random.Random(1).randbytes(BLOCK_BYTES)
    with gzip.open(path, "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"{number // FILES_OF_A_DIRECTORY}/{number}")
            entry.size = FILE_BYTES
            start = number * 97 % (BLOCK_BYTES - FILE_BYTES)
            tar.addfile(entry, io.BytesIO(block[start : start + FILE_BYTES // 2] + bytes(FILE_BYTES // 2)))
    with gzip.open(path) as unpacked:
        return f"sha256:{hashlib.file_digest(unpacked, 'sha256').hexdigest()}"


@asynccontextmanager
async def published(directory: Path, layer: Path, diff_id: str) -> AsyncIterator[str]:
    """The name by which a registry of our own has it."""
    store = ImageStore(directory, host_image=False)
    manifest = image_of(store.layout, layer, diff_id)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    name = f"127.0.0.1:{listener.getsockname()[1]}/large:latest"
    store.layout.tag(name, manifest)
    serving = await serve(RegistryEndpoint(store, SystemClock(), Ids()), sock=listener)
    try:
        yield name
    finally:
        await serving.close()


def image_of(layout: Layout, layer: Path, diff_id: str) -> Descriptor:
    """The manifest of an image of this one layer."""
    with layer.open("rb") as opened:
        digest = f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
    os.link(layer, layout.path(digest))
    about = {"architecture": "", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    config = json.dumps(about).encode()
    return layout.put_manifest(
        Descriptor(CONFIG_TYPE, layout.put(config), len(config)),
        [Descriptor(LAYER_TYPE, digest, layer.stat().st_size)],
    )


async def seconds_of(*command: str) -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stdin=DEVNULL)
    if await process.wait() != 0:
        raise OSError(f"{command[0]} failed")
    return time.monotonic() - began
