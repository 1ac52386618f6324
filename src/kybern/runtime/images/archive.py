"""Images from a file: `docker save` archives and OCI image layouts in a tar, compressed or not.

Names inside the archive are only ever keys, never paths: each file goes to the blob that its own digest names.
"""

import hashlib
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from kybern.runtime.images import manifest as documents
from kybern.runtime.images.bounded_tar import Refused, entries, open_tar
from kybern.runtime.images.layout import ARCHIVE, Layout, Needed
from kybern.runtime.images.manifest import MANIFEST_TYPES, BadImage, Descriptor
from kybern.runtime.images.reference import parse

ENTRIES_MAX = 10_000
BYTES_MAX = 64 << 30
DOCUMENT_BYTES_MAX = 8 << 20
PIECE = 1 << 20
LINKS_MAX = 10
NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


class Contents:
    """The files of an archive as blobs of the layout, by their name in the archive."""

    def __init__(self, layout: Layout, needed: Needed) -> None:
        self.layout, self.needed = layout, needed
        self.blobs: dict[str, Descriptor] = {}
        self.links: dict[str, str] = {}

    def find(self, name: str) -> Descriptor:
        for _ in range(LINKS_MAX):
            if name in self.blobs:
                return self.blobs[name]
            if name not in self.links:
                break
            name = self.links[name]
        raise BadImage(f"archive has no {name[:200]!r}")

    def document(self, name: str) -> Any:
        found = self.find(name)
        if found.size > DOCUMENT_BYTES_MAX:
            raise BadImage(f"{name[:200]!r} is larger than {DOCUMENT_BYTES_MAX} bytes")
        try:
            return json.loads(self.layout.read(found.digest, DOCUMENT_BYTES_MAX))
        except (ValueError, RecursionError) as error:
            raise BadImage(f"{name[:200]!r} is not JSON") from error


def read_archive(path: Path, layout: Layout, needed: Needed) -> list[tuple[str, Descriptor]]:
    """(name, manifest) of each image in it; the blobs are in the layout afterwards. Blocks: call it in a thread."""
    contents = Contents(layout, needed)
    try:
        with path.open("rb") as stream, open_tar(stream, "*") as tar:
            _read_entries(tar, contents)
    except (Refused, tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise BadImage(f"cannot read the archive: {error}") from error
    if "manifest.json" in contents.blobs:
        return _docker(contents)
    if "index.json" in contents.blobs:
        return _oci(contents)
    raise BadImage("neither a docker archive nor an OCI image layout")


def _read_entries(tar: tarfile.TarFile, contents: Contents) -> None:
    total = 0
    for number, entry in enumerate(entries(tar)):
        name = entry.name.removeprefix("./")
        total += entry.size  # of a sparse file, what it is told to be
        if number >= ENTRIES_MAX or total > BYTES_MAX:
            raise BadImage("archive is larger than is accepted")
        if entry.isfile():
            content = tar.extractfile(entry)
            if content is not None:
                contents.blobs[name] = _ingest(content, contents)
        elif entry.issym() or entry.islnk():
            folder = name.rpartition("/")[0] if entry.issym() else ""
            contents.links[name] = _joined(folder, entry.linkname)


def _joined(folder: str, name: str) -> str:
    """A link's target as a name in the archive."""
    parts = [part for part in folder.split("/") if part]
    for part in name.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _ingest(content: IO[bytes], contents: Contents) -> Descriptor:
    """Under a temporary name first, since its digest is known at the end."""
    layout = contents.layout
    temporary = layout.ingest / f"{ARCHIVE}{id(contents)}"
    digest, size, first = hashlib.sha256(), 0, b""
    try:
        with temporary.open("wb") as opened:
            while piece := content.read(PIECE):
                first = first or piece[:4]
                digest.update(piece)
                size += len(piece)
                opened.write(piece)
        name = f"sha256:{digest.hexdigest()}"
        contents.needed.add(name)
        temporary.replace(layout.path(name))
    finally:
        temporary.unlink(missing_ok=True)
    suffix = "+gzip" if first.startswith(GZIP_MAGIC) else "+zstd" if first == ZSTD_MAGIC else ""
    return Descriptor(LAYER_TYPE + suffix, name, size)


def _docker(contents: Contents) -> list[tuple[str, Descriptor]]:
    entries = contents.document("manifest.json")
    if not isinstance(entries, list):
        raise BadImage("manifest.json is no list")
    found: list[tuple[str, Descriptor]] = []
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("Layers"), list):
            raise BadImage("manifest.json has an entry without layers")
        config = contents.find(_joined("", str(entry.get("Config"))))
        layers = [contents.find(_joined("", str(name))) for name in entry["Layers"]]
        manifest = contents.layout.put_manifest(config, layers)
        contents.needed.add(manifest.digest)
        found += [
            (parse(str(tag)).name, manifest) for tag in entry.get("RepoTags") or [f"localhost/loaded@{manifest.digest}"]
        ]
    return found


def _oci(contents: Contents) -> list[tuple[str, Descriptor]]:
    index = contents.document("index.json")
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise BadImage("index.json has no list of manifests")
    found: list[tuple[str, Descriptor]] = []
    for entry in index["manifests"]:
        wanted = documents.descriptor(entry, documents.MANIFEST_BYTES_MAX)
        manifest = _through_indexes(contents.layout, wanted)
        found.append((_name_of(entry, manifest), manifest))
    return found


def _through_indexes(layout: Layout, wanted: Descriptor) -> Descriptor:
    for _ in range(3):
        if not layout.has(wanted.digest):
            raise BadImage(f"archive has no blob {wanted.digest}")
        body = layout.read(wanted.digest, documents.MANIFEST_BYTES_MAX)
        document = documents.decode(body, "manifest")
        kind = documents.media_type_of(document, wanted.media_type)
        if kind in MANIFEST_TYPES:
            return Descriptor(kind, wanted.digest, len(body))
        wanted = documents.choose(document)
    raise BadImage("indexes are nested too deep")


def _name_of(entry: Mapping[str, Any], manifest: Descriptor) -> str:
    annotations = entry.get("annotations")
    known = annotations if isinstance(annotations, dict) else {}
    for key in NAMES:
        name = str(known.get(key) or "")
        if "/" in name:
            return parse(name).name
    return f"localhost/loaded@{manifest.digest}"
