"""Manifests and configurations: what a stranger's JSON says an image is made of, checked before it is believed."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kybern.runtime.images.reference import DIGEST

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
COMPRESSION = {
    "application/vnd.oci.image.layer.v1.tar": "",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}

MANIFEST_BYTES_MAX = 4 << 20
CONFIG_BYTES_MAX = 8 << 20
LAYERS_MAX = 500  # overlayfs' own limit
LAYER_BYTES_MAX = 64 << 30
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}


class BadImage(Exception):
    """What was received is no image that may be used."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def decode(data: bytes, about: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadImage(f"{about} is not JSON") from error
    if not isinstance(found, dict):
        raise BadImage(f"{about} is no object")
    return found


def media_type_of(found: Mapping[str, Any], announced: str) -> str:
    """One of the two kinds, and not both: a document that can be read as either is an attack."""
    if "manifests" in found and ("layers" in found or "config" in found):
        raise BadImage("manifest is also an index")
    stated = found.get("mediaType") or announced.partition(";")[0].strip()
    if stated in INDEX_TYPES and "manifests" in found:
        return INDEX_TYPES[0]
    if stated in MANIFEST_TYPES and "layers" in found:
        return MANIFEST_TYPES[0]
    raise BadImage(f"unsupported manifest of type {str(stated)[:100]!r}")


def choose(found: Mapping[str, Any], machine: str = "") -> Descriptor:
    """The entry of an index for this machine."""
    wanted = ARCHITECTURES.get(machine or platform.machine(), machine or platform.machine())
    entries = found["manifests"]
    if not isinstance(entries, list):
        raise BadImage("index has no list of manifests")
    for entry in entries:
        about = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(about, dict) and about.get("os") == "linux" and about.get("architecture") == wanted:
            return descriptor(entry, MANIFEST_BYTES_MAX)
    if len(entries) == 1 and isinstance(entries[0], dict) and "platform" not in entries[0]:
        return descriptor(entries[0], MANIFEST_BYTES_MAX)
    raise BadImage(f"no match for platform in manifest: linux/{wanted}")


def descriptor(found: Any, size_max: int) -> Descriptor:
    if not isinstance(found, dict):
        raise BadImage("descriptor is no object")
    media_type, digest, size = found.get("mediaType", ""), found.get("digest", ""), found.get("size", -1)
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BadImage(f"unsupported digest {str(digest)[:100]!r}")
    if not isinstance(media_type, str) or type(size) is not int or not 0 <= size <= size_max:
        raise BadImage(f"descriptor of {digest} has a size or type that is not accepted")
    return Descriptor(media_type, digest, size)


def parse_manifest(found: Mapping[str, Any], digest: str) -> Manifest:
    layers = found["layers"]
    if not isinstance(layers, list) or len(layers) > LAYERS_MAX:
        raise BadImage(f"manifest does not have 0 to {LAYERS_MAX} layers")
    parsed = tuple(descriptor(layer, LAYER_BYTES_MAX) for layer in layers)
    for layer in parsed:
        if layer.media_type not in COMPRESSION:
            raise BadImage(f"unsupported layer type {layer.media_type[:100]!r}")
    return Manifest(digest, descriptor(found.get("config"), CONFIG_BYTES_MAX), parsed)


def diff_ids(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    """The digests of the unpacked layers, one for each."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or any(not isinstance(each, str) or not DIGEST.fullmatch(each) for each in found):
        raise BadImage("configuration has no list of layer digests")
    if len(found) != layers:
        raise BadImage(f"mismatched image rootfs and manifest layers: {len(found)} and {layers}")
    return tuple(found)
