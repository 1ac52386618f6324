"""Resources to operations: what can be done at which path, with which parameters.

kubectl reads three things here: that a PATCH takes `dryRun` and `fieldValidation`, and which kind a path is about.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kybern.api import meta_v1
from kybern.api.custom import is_custom
from kybern.api.kind import Kind
from kybern.apiserver.openapi.custom import model_name
from kybern.apiserver.openapi.definitions import name_of
from kybern.apiserver.returned import RETURNED
from kybern.registry.resource import Resource, Subresource


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    place: str
    type: str
    description: str
    required: bool = False


def _query(name: str, type_: str, description: str) -> Parameter:
    return Parameter(name, "query", type_, description)


NAME = Parameter("name", "path", "string", "name of the object", required=True)
NAMESPACE = Parameter("namespace", "path", "string", "namespace of the object", required=True)
DRY_RUN = _query("dryRun", "string", "`All`: go through every step but store nothing")
FIELD_MANAGER = _query("fieldManager", "string", "who is making the change")
FIELD_VALIDATION = _query("fieldValidation", "string", "unknown and repeated fields: `Ignore`, `Warn` or `Strict`")
FORCE = _query("force", "boolean", "apply takes over fields that others own")
WRITING = (DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION)
DELETING = (
    DRY_RUN,
    _query("gracePeriodSeconds", "integer", "seconds until the object is gone"),
    _query("orphanDependents", "boolean", "the old way to say `propagationPolicy`"),
    _query("propagationPolicy", "string", "what becomes of dependents: `Orphan`, `Background` or `Foreground`"),
)
LISTING = (
    _query("allowWatchBookmarks", "boolean", "a watch tells of progress too"),
    _query("continue", "string", "where the last page of the list ended"),
    _query("fieldSelector", "string", "only objects whose fields match"),
    _query("labelSelector", "string", "only objects whose labels match"),
    _query("limit", "integer", "at most so many objects in an answer"),
    _query("resourceVersion", "string", "how new the answer must be"),
    _query("resourceVersionMatch", "string", "how `resourceVersion` is meant"),
    _query("sendInitialEvents", "boolean", "a watch begins with what is there"),
    _query("timeoutSeconds", "integer", "when the server ends the call"),
    _query("watch", "boolean", "changes, instead of a list"),
)
PRETTY = _query("pretty", "string", "print with line ends")

PATCH_TYPES = (
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)  # fmt: skip
CUSTOM_PATCH_TYPES = tuple(type_ for type_ in PATCH_TYPES if "strategic" not in type_)
ANY_TYPE = ("*/*",)
WORDS = {"get": "read", "list": "list", "post": "create", "put": "replace", "patch": "patch", "delete": "delete",
         "deletecollection": "delete", "connect": "connect"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    path: str
    method: str
    action: str
    id: str
    tag: str
    gvk: dict[str, str]
    parameters: tuple[Parameter, ...] = ()
    consumes: tuple[str, ...] = ANY_TYPE
    body: str = ""
    """The definition of what is sent; empty where nothing is."""
    answer: str = ""
    created: bool = False
    """Whether 201 is a possible answer."""


def operations(resources: Iterable[Resource]) -> Iterator[Operation]:
    for resource in resources:
        yield from _of_resource(resource)
        for part in resource.subresources:
            yield from _of_part(resource, part)


def _base(kind: Kind) -> str:
    return f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"


def _collection(kind: Kind) -> str:
    return (
        f"{_base(kind)}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{_base(kind)}/{kind.plural}"
    )


def _group_words(kind: Kind) -> str:
    parts = kind.group.removesuffix(".k8s.io").split(".") if kind.group else ["core"]
    return "".join(part[:1].upper() + part[1:] for part in parts)


def _id(kind: Kind, action: str, what: str) -> str:
    scope = "Namespaced" if kind.namespaced else ""
    many = "Collection" if action == "deletecollection" else ""
    version = kind.version[:1].upper() + kind.version[1:]
    return f"{WORDS[action]}{_group_words(kind)}{version}{many}{scope}{what}"


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "kind": kind.kind, "version": kind.version}


def definition_of(kind: Kind) -> str:
    return model_name(kind, kind.kind) if is_custom(kind.type) else name_of(kind.type)


def _list_definition(kind: Kind) -> str:
    if is_custom(kind.type):
        return model_name(kind, kind.list_kind)
    return name_of(kind.list_type) if kind.list_type is not None else ""


STATUS = name_of(meta_v1.Status)
DELETE_OPTIONS = name_of(meta_v1.DeleteOptions)
PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"


def _of_resource(resource: Resource) -> Iterator[Operation]:
    kind = resource.kind
    verbs = set(kind.verbs)
    where = (NAMESPACE,) if kind.namespaced else ()
    common: dict[str, Any] = {"tag": _tag(kind), "gvk": _gvk(kind)}
    many: dict[str, Any] = {**common, "path": _collection(kind)}
    one: dict[str, Any] = {**common, "path": _collection(kind) + "/{name}"}
    own, listed = definition_of(kind), _list_definition(kind)
    if "list" in verbs:
        named = _id(kind, "list", kind.kind)
        yield Operation(
            **many, method="get", action="list", id=named, parameters=(*where, *LISTING, PRETTY), answer=listed
        )
    if "post" in verbs:
        yield Operation(
            **many, method="post", action="post", id=_id(kind, "post", kind.kind),
            parameters=(*where, *WRITING, PRETTY), body=own, answer=own, created=True,
        )  # fmt: skip
    if "deletecollection" in verbs:
        named = _id(kind, "deletecollection", kind.kind)
        yield Operation(
            **many, method="delete", action="deletecollection", id=named,
            parameters=(*where, *LISTING[1:6], *DELETING, PRETTY), body=DELETE_OPTIONS, answer=STATUS,
        )  # fmt: skip
    yield from _on_one(kind, verbs, one, (*where, NAME), own)
    if kind.namespaced and "list" in verbs:
        version = kind.version[:1].upper() + kind.version[1:]
        everywhere = f"list{_group_words(kind)}{version}{kind.kind}ForAllNamespaces"
        yield Operation(
            **common, path=f"{_base(kind)}/{kind.plural}", method="get", action="list", id=everywhere,
            parameters=(*LISTING, PRETTY), answer=listed,
        )  # fmt: skip


def _on_one(
    kind: Kind, verbs: set[str], one: dict[str, Any], where: tuple[Parameter, ...], own: str, part: str = ""
) -> Iterator[Operation]:
    """get, put, patch and delete of one object, or of a part of it."""
    what = kind.kind + part
    if "get" in verbs:
        yield Operation(
            **one, method="get", action="get", id=_id(kind, "get", what), parameters=(*where, PRETTY), answer=own
        )
    if "put" in verbs:
        yield Operation(
            **one, method="put", action="put", id=_id(kind, "put", what), parameters=(*where, *WRITING, PRETTY),
            body=own, answer=own, created=True,
        )  # fmt: skip
    if "patch" in verbs:
        yield Operation(
            **one, method="patch", action="patch", id=_id(kind, "patch", what), consumes=CUSTOM_PATCH_TYPES if is_custom(kind.type) else PATCH_TYPES,
            parameters=(*where, *WRITING, FORCE, PRETTY), body=PATCH, answer=own, created=True,
        )  # fmt: skip
    if "delete" in verbs:
        yield Operation(
            **one, method="delete", action="delete", id=_id(kind, "delete", what),
            parameters=(*where, *DELETING, PRETTY), body=DELETE_OPTIONS,
            answer=own if kind.group_resource in RETURNED else STATUS,
        )  # fmt: skip


def _of_part(resource: Resource, part: Subresource) -> Iterator[Operation]:
    kind = resource.kind
    body = part.kind or kind
    where = (*((NAMESPACE,) if kind.namespaced else ()), NAME)
    one: dict[str, Any] = {
        "path": f"{_collection(kind)}/{{name}}/{part.name}", "tag": _tag(kind), "gvk": _gvk(body),
    }  # fmt: skip
    word = part.name[:1].upper() + part.name[1:]
    if part.name in ("exec", "attach", "portforward", "proxy"):
        for method in part.verbs:
            named = f"connect{method.title()}{_id(kind, 'connect', kind.kind)[len('connect') :]}{word}"
            yield Operation(**one, method=method, action="connect", id=named, parameters=where)
        return
    own = definition_of(body)
    yield from _on_one(kind, set(part.verbs), one, where, own, word)
    if "post" in part.verbs:
        yield Operation(
            **one, method="post", action="post", id=_id(kind, "post", kind.kind + word),
            parameters=(*where, *WRITING, PRETTY), body=own, answer=own, created=True,
        )  # fmt: skip


def _tag(kind: Kind) -> str:
    group = kind.group.removesuffix(".k8s.io").partition(".")[0] if kind.group else "core"
    return f"{group}_{kind.version}"
