"""OCI images made from what is at hand: from a directory, from a list of archive entries, from Debian's busybox."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh ls cat echo sleep id env hostname mkdir rm ln touch mount umount ps kill nc httpd wget ip stat grep head tail "
    "tee true false date dd chmod chown mknod test pwd tty stty wc sort seq find cp mv df free nslookup ping trap su "
    "whoami printf yes sync unshare setsid readlink uname"
)
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass
class BuiltImage:
    manifest: bytes
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def entry(name: str, content: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One archive entry: a file with `content`, or whatever `type` says."""
    info = tarfile.TarInfo(name)
    info.mode = fields.pop("mode", 0o755 if content is None else 0o644)
    if content is None:
        info.type = tarfile.DIRTYPE
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(content or b"")
    return info, content or b""


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def archive(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def build(layers: Iterable[bytes], config: Mapping[str, Any] | None = None) -> BuiltImage:
    """An image of these layers (uncompressed tars)."""
    tars = list(layers)
    packed = [gzip.compress(tar, 1, mtime=0) for tar in tars]
    about = json.dumps(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(tar) for tar in tars]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": digest_of(about), "size": len(about)},
            "layers": [{"mediaType": LAYER, "digest": digest_of(each), "size": len(each)} for each in packed],
        }
    ).encode()
    return BuiltImage(manifest, {digest_of(each): each for each in (about, *packed)})


def build_from_directory(directory: Path, config: Mapping[str, Any] | None = None) -> BuiltImage:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.add(directory, arcname=".")
    return build([target.getvalue()], config)


def busybox(config: Mapping[str, Any] | None = None) -> BuiltImage:
    """A small system: one static program with many names, root and one user."""
    passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n"
    group = b"root:x:0:\nweb:x:1000:\nextra:x:2000:web\n"
    base = [entry("bin"), entry("etc"), entry("root", mode=0o700), entry("tmp", mode=0o1777), entry("home/web")]
    base += [entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755)]
    base += [link(f"bin/{name}", "busybox") for name in APPLETS.split()]
    files = [entry("etc/passwd", passwd), entry("etc/group", group), entry("www/index.html", b"hello\n")]
    return build([archive(base), archive(files)], {"Env": ["PATH=/bin"], "Cmd": ["sh"]} | dict(config or {}))


def oci_archive(image: BuiltImage, name: str) -> bytes:
    """As `skopeo copy ... oci-archive:` writes it."""
    annotations = {"org.opencontainers.image.ref.name": name}
    described = {"mediaType": MANIFEST, "digest": image.digest, "size": len(image.manifest), "annotations": annotations}
    entries = [entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')]
    entries.append(entry("index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode()))
    for digest, data in {**image.blobs, image.digest: image.manifest}.items():
        entries.append(entry(f"blobs/sha256/{digest.removeprefix('sha256:')}", data))
    return archive(entries)


def docker_archive(image: BuiltImage, name: str) -> bytes:
    """As `docker save` writes it."""
    manifest = json.loads(image.manifest)
    layers = [f"{number}/layer.tar" for number, _ in enumerate(manifest["layers"])]
    listing = [{"Config": "config.json", "RepoTags": [name], "Layers": layers}]
    entries = [entry("manifest.json", json.dumps(listing).encode())]
    entries.append(entry("config.json", image.blobs[manifest["config"]["digest"]]))
    for path, layer in zip(layers, manifest["layers"], strict=True):
        entries.append(entry(path, gzip.decompress(image.blobs[layer["digest"]])))
    return archive(entries)
