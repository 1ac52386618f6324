"""`kybern.local/host` for a runtime that knows nothing of it: an image of empty directories, and mounts over them.

What is shown and hidden is as in our own runtime (see `images.host`), but that shown directories are read-only.
"""

import gzip
import io
import json
import os
import platform
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kybern.runtime.cri import Mount
from kybern.runtime.images.host import SHOWN, TAKEN_APART, private_in
from kybern.runtime.images.layout import Layout
from kybern.runtime.images.manifest import ARCHITECTURES, CONFIG_TYPE, Descriptor
from kybern.runtime.spec import DEFAULT_PATH

NAME = "kybern.local/host-directories:latest"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"


def put_image(layout: Layout) -> Descriptor:
    """Its manifest; the same one while the machine's root looks the same."""
    layer = skeleton("/")
    packed = gzip.compress(layer, 1, mtime=0)
    found = Descriptor(LAYER_TYPE, layout.put(packed), len(packed))
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": [f"PATH={DEFAULT_PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": [layout.put(layer)]},
        }
    ).encode()
    manifest = layout.put_manifest(Descriptor(CONFIG_TYPE, layout.put(config), len(config)), (found,))
    layout.tag(NAME, manifest)
    return manifest


def skeleton(root: str) -> bytes:
    """The links and directories of a root, all empty, as a layer."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(entries_of(root), key=lambda each: each.path):
            about = entry.stat(follow_symlinks=False)
            info = tarfile.TarInfo(os.path.relpath(entry.path, root))
            info.mode, info.uid, info.gid = stat.S_IMODE(about.st_mode), about.st_uid, about.st_gid
            info.type = tarfile.SYMTYPE if entry.is_symlink() else tarfile.DIRTYPE
            info.linkname = os.readlink(entry.path) if entry.is_symlink() else ""
            archive.addfile(info)
    return target.getvalue()


def entries_of(root: str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(root):
        if entry.is_symlink() or entry.is_dir():
            yield entry
        if entry.name in TAKEN_APART and entry.is_dir(follow_symlinks=False):
            yield from (below for below in os.scandir(entry.path) if below.is_symlink() or below.is_dir())


def mounts_of(root: str, nothing: Path) -> tuple[Mount, ...]:
    """Over the image's directories: those that are shown, and over what is private in them, an empty one or no file.

    `nothing`: an empty directory."""
    shown = [entry.path for entry in os.scandir(root) if entry.name in SHOWN and entry.is_dir(follow_symlinks=False)]
    hidden = [path for each in shown if each.endswith("/etc") for path in private_in(each)]
    return (
        *(read_only(path, path) for path in sorted(shown)),
        *(read_only(path, str(nothing) if os.path.isdir(path) else "/dev/null") for path in hidden),
    )


def read_only(inside: str, host_path: str) -> Mount:
    return Mount(container_path=inside, host_path=host_path, readonly=True)
