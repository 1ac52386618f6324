"""An image as one archive that both worlds load: an OCI image layout with docker's manifest.json beside it."""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kybern.runtime.images.layout import Layout
from kybern.runtime.images.manifest import Descriptor
from kybern.runtime.images.pull import read_manifest

NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"


def save(layout: Layout, images: Mapping[str, Descriptor], path: Path) -> None:
    """Name to manifest; each blob once. Blocks: call it in a thread."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            _add(tar, "index.json", json.dumps(index_of(images)).encode())
            _add(tar, "manifest.json", json.dumps(docker_manifest_of(layout, images)).encode())
            for digest in blobs_of(layout, images):
                _add_file(tar, blob_name(digest), layout.path(digest))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def blobs_of(layout: Layout, images: Mapping[str, Descriptor]) -> list[str]:
    found: dict[str, None] = {}
    for each in images.values():
        manifest = read_manifest(layout, each.digest)
        found |= dict.fromkeys((each.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)))
    return list(found)


def index_of(images: Mapping[str, Descriptor]) -> dict[str, Any]:
    entries = [
        {
            "mediaType": each.media_type,
            "digest": each.digest,
            "size": each.size,
            "annotations": {CONTAINERD_NAME: name, NAME: name},
        }
        for name, each in images.items()
    ]
    return {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}


def docker_manifest_of(layout: Layout, images: Mapping[str, Descriptor]) -> Sequence[Mapping[str, Any]]:
    found = []
    for name, each in images.items():
        manifest = read_manifest(layout, each.digest)
        found.append(
            {
                "Config": blob_name(manifest.config.digest),
                "RepoTags": [] if "@" in name else [name],
                "Layers": [blob_name(layer.digest) for layer in manifest.layers],
            }
        )
    return found


def blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = path.stat().st_size, 0o644
    with path.open("rb") as opened:
        tar.addfile(entry, opened)
