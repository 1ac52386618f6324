"""Where things are served: the URL path of a kind, a namespace, an object, a subresource."""

from functools import cache, lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from kybern.api.kind import Kind
from kybern.api.kinds import KINDS

NAMES_MAX = 4096  # that are remembered: most are asked for more than once


@cache
def _by_type() -> dict[type[Any], Kind]:
    return {kind.type: kind for kind in KINDS}


def kind_of(wanted: type[Any]) -> Kind:
    """The kind that a Struct belongs to: a built-in one, or what it says itself in `served`. KeyError for a type that is
    not served."""
    known = _by_type().get(wanted) or getattr(wanted, "served", None)
    if known is None:
        raise KeyError(wanted)
    return known


@lru_cache(maxsize=NAMES_MAX)
def quoted(name: str) -> str:
    return quote(name, safe="")


def path_of(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of one object, or of a collection when `name` is empty; all namespaces when `namespace` is."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    scope = f"/namespaces/{quoted(namespace)}" if kind.namespaced and namespace else ""
    path = f"{root}{scope}/{kind.plural}"
    if name:
        path += f"/{quoted(name)}"
    return f"{path}/{subresource}" if subresource else path


def query_of(**params: str | int | bool | None) -> str:
    """Parameters that are None, empty or False are left out."""
    given = {name: str(value).lower() if value is True else str(value) for name, value in params.items() if value}
    return urlencode(given) if given else ""
