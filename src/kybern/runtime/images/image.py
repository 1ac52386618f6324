"""An image that is ready to run: its layers as directories, and what it says about how it is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kybern.runtime.cri import Image
from kybern.runtime.spec import ImageDefaults

TEXT_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyImage:
    id: str
    layers: tuple[str, ...]
    """Directories, the topmost first."""
    defaults: ImageDefaults
    hidden: tuple[str, ...] = ()
    """Directories of its layers that are shown empty. Such an image is the machine's own root: what a container
    writes is kept in memory, since a layer on the same file system would lie within it."""


def defaults_of(config: Mapping[str, Any]) -> ImageDefaults:
    """From an image's configuration. Wrong types are refused by ValueError: a stranger wrote it."""
    found = config.get("config") or {}
    if not isinstance(found, dict):
        raise ValueError("image configuration is no object")
    return ImageDefaults(
        entrypoint=_texts(found, "Entrypoint"),
        cmd=_texts(found, "Cmd"),
        env=_texts(found, "Env"),
        working_dir=_text(found, "WorkingDir"),
        user=_text(found, "User"),
        stop_signal=_text(found, "StopSignal"),
        volumes=tuple(sorted(path for path in found.get("Volumes") or {} if path.startswith("/"))),
    )


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name) or ""
    if not isinstance(value, str) or len(value) > TEXT_MAX or "\0" in value:
        raise ValueError(f"image configuration: {name} is not a text")
    return value


def _texts(found: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = found.get(name) or ()
    if not isinstance(value, list | tuple) or any(not isinstance(each, str) or "\0" in each for each in value):
        raise ValueError(f"image configuration: {name} is not a list of texts")
    return tuple(value)


def described(image: ReadyImage, names: tuple[str, ...], digests: tuple[str, ...], size: int, *, pinned: bool) -> Image:
    """As CRI shows it: a numeric USER is a uid, another one a name."""
    user = image.defaults.user.partition(":")[0]
    numeric = user.isascii() and user.isdigit() and len(user) <= 10
    return Image(
        id=image.id,
        repo_tags=names,
        repo_digests=digests,
        size_bytes=size,
        uid=int(user) if numeric else None if user else 0,
        username="" if numeric else user,
        volumes=image.defaults.volumes,
        pinned=pinned,
    )
