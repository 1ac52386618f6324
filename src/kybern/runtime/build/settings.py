"""What a stage has come to: the configuration of the image so far, its layers and history, and the key of its cache."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kybern.runtime.images.image import defaults_of
from kybern.runtime.spec import DEFAULT_PATH, ImageDefaults

SHELL = ("/bin/sh", "-c")
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Layer:
    diff_id: str
    digest: str
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Values; each step makes the next ones."""

    config: Mapping[str, Any] = field(default_factory=dict)
    """As in an OCI image: Env, Cmd, Entrypoint, Labels, User, WorkingDir, ..."""
    layers: tuple[Layer, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    """ARGs that were declared in this stage or those it comes from."""
    own_command: bool = False
    """Whether CMD stands in this Dockerfile."""
    created: str = EPOCH
    """When the newest layer was made: an image that came from the cache is the same image, to the byte."""
    key: str = ""
    """Of the cache: everything that this state came from."""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def environment(self) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def variables(self) -> dict[str, str]:
        """What an instruction's words may use: an ENV goes before an ARG of the same name."""
        return {**self.arguments, **self.environment}

    @property
    def shell(self) -> tuple[str, ...]:
        return tuple(self.config.get("Shell") or SHELL)

    @property
    def working_directory(self) -> str:
        return str(self.config.get("WorkingDir") or "/")

    def with_config(self, **fields: Any) -> "Settings":
        merged = {**self.config, **fields}
        return replace(self, config={name: value for name, value in merged.items() if value is not None})

    def with_environment(self, pairs: Mapping[str, str]) -> "Settings":
        merged = {**self.environment, **pairs}
        return self.with_config(Env=[f"{name}={value}" for name, value in merged.items()])

    def stepped(self, created_by: str, layer: Layer | None = None, created: str = "") -> "Settings":
        """One more line of history, with the layer that came of it."""
        created = created or self.created
        entry: dict[str, Any] = {"created": created, "created_by": created_by, "comment": "kybern"}
        if layer is None:
            return replace(self, history=(*self.history, {**entry, "empty_layer": True}), created=created)
        return replace(self, history=(*self.history, entry), layers=(*self.layers, layer), created=created)

    def keyed(self, *parts: str) -> "Settings":
        return replace(self, key=key_of(self.key, *parts))

    def defaults(self) -> ImageDefaults:
        return defaults_of({"config": dict(self.config)})


def key_of(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def from_image(config: Mapping[str, Any], layers: tuple[Layer, ...], image_id: str) -> Settings:
    found = Settings(
        config=dict(config.get("config") or {}),
        layers=layers,
        history=tuple(config.get("history") or ()),
        created=str(config.get("created") or EPOCH),
        key=key_of("image", image_id),
    )
    return found if "PATH" in found.environment else found.with_environment({"PATH": DEFAULT_PATH, **found.environment})


def empty() -> Settings:
    return Settings(key=key_of("scratch")).with_environment({"PATH": DEFAULT_PATH})
