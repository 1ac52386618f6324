"""What a stage begins with or copies from: an image of the store, pulled when it is not there.

It stays there for as long as the build goes on, whoever removes its names meanwhile.
"""

from collections.abc import Mapping
from typing import Any

from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.build.settings import Layer, Settings, from_image
from kybern.runtime.build.workshop import Source
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.images import host
from kybern.runtime.images import manifest as documents
from kybern.runtime.images.image import ReadyImage
from kybern.runtime.images.layout import Needed
from kybern.runtime.images.manifest import Manifest
from kybern.runtime.images.pull import read_config, read_manifest
from kybern.runtime.images.snapshots import chain_ids
from kybern.runtime.images.store import ImageStore


async def ready(images: ImageStore, name: str, *, pull: bool) -> ReadyImage:
    found = images.get(name)
    if found is None or (pull and not host.is_host(name)):
        try:
            await images.pull(name)
        except RuntimeFault as fault:
            raise DockerfileError(fault.message) from fault
        found = images.get(name)
    if found is None:
        raise DockerfileError(f"image {name!r} is not usable")
    return found


async def settings_of(images: ImageStore, name: str, needed: Needed, *, pull: bool) -> Settings:
    if host.is_host(name):
        raise DockerfileError(
            f"{name} has no layers that could be built on; take files from it with COPY --from={name}"
        )
    await ready(images, name, pull=pull)
    manifest, config, diff_ids = kept(images, name, needed)
    layers = zip(diff_ids, manifest.layers, strict=True)
    made = tuple(Layer(diff_id, each.digest, each.size, each.media_type) for diff_id, each in layers)
    return from_image(config, made, manifest.config.digest)


async def source_of(images: ImageStore, name: str, needed: Needed, *, pull: bool) -> tuple[Source, str]:
    """(its files, what they are known by)."""
    found = await ready(images, name, pull=pull)
    if not host.is_host(name):
        kept(images, name, needed)
    return Source(layers=found.layers, hidden=found.hidden), found.id


def kept(images: ImageStore, name: str, needed: Needed) -> tuple[Manifest, Mapping[str, Any], tuple[str, ...]]:
    """(manifest, configuration, diff ids) of an image that was ready just now."""
    found = images.find(name)
    assert found is not None, "it was ready"
    manifest = read_manifest(images.layout, found.digest)
    config = read_config(images.layout, manifest)
    diff_ids = documents.diff_ids(config, len(manifest.layers))
    blobs = (manifest.config.digest, *(layer.digest for layer in manifest.layers))
    needed.add(found.digest, *blobs, *chain_ids(diff_ids))
    return manifest, config, diff_ids
