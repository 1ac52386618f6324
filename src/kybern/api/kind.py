"""A kind: the names under which a type is served. `kinds.KINDS` lists the built-in ones."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Subresource:
    name: str
    kind: str
    """The kind of its body, `Scale` or `Eviction`, say; the parent's own where the subresource is a part of it."""
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    list_type: type[Any] | None
    type: type[Any]
    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: tuple[str, ...]
    subresources: tuple[Subresource, ...] = ()
    listed_as: str = ""
    """The kind of a list, where it is not simply named after the kind of its items."""

    @property
    def list_kind(self) -> str:
        return self.listed_as or f"{self.kind}List"

    @property
    def api_version(self) -> str:
        """`v1` for the core group, `apps/v1` for others."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, `deployments.apps`: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural
