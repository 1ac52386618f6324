"""`kybern.local/host`: the machine's own root file system as an image, offline and at once.

Its one layer is `/` itself. What is not the image's business is shown empty: kernel file systems, run-time state and
our own data.
"""

from pathlib import Path

from kybern.runtime.images.image import ReadyImage
from kybern.runtime.spec import DEFAULT_PATH, ImageDefaults

NAME = "kybern.local/host"
ID = "sha256:" + "0" * 56 + "686f7374"  # not a digest of anything: nothing that is pulled can have it
HIDDEN = ("/proc", "/sys", "/dev", "/run", "/tmp", "/mnt", "/media")


def is_host(name: str) -> bool:
    return name in (NAME, f"{NAME}:latest", ID)


def host_image(also_hidden: tuple[Path, ...]) -> ReadyImage:
    defaults = ImageDefaults(cmd=("/bin/sh",), env=(f"PATH={DEFAULT_PATH}",))
    return ReadyImage(id=ID, layers=("/",), defaults=defaults, hidden=HIDDEN + tuple(map(str, also_hidden)))
