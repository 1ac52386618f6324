"""A request as a webhook or an expression sees it: JSON, in the version of the resource that its rule names.

What a part of an object sends (`deployments/scale`) is that part, a connection (`pods/exec`) is its options. What is
changed here goes back into the request in the version, and the form, that it came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kybern.aio.beside import beside, soon
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Namespace
from kybern.api.kind import Kind
from kybern.api.strict import Malformed, decode_value
from kybern.apiserver.options import Writing, port_numbers
from kybern.apiserver.request import Admission, Objects
from kybern.registry.resource import Resource, Subresource

CONNECTIONS = {
    "pods/exec": "PodExecOptions",
    "pods/attach": "PodAttachOptions",
    "pods/portforward": "PodPortForwardOptions",
    "pods/proxy": "PodProxyOptions",
    "services/proxy": "ServiceProxyOptions",
    "nodes/proxy": "NodeProxyOptions",
}
STREAMS = ("stdin", "stdout", "stderr", "tty")
OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}

GroupVersionKind = tuple[str, str, str]


@dataclass(slots=True)
class Versioned:
    admission: Admission
    resource: Resource
    """The version that is looked at: the request's own, or one that is equivalent to it."""
    part: Subresource | None = None
    kind: GroupVersionKind = ("", "", "")
    operation: str = ""
    object: Any = field(default=None, init=False)
    """JSON, from `look` on; None for DELETE."""
    old: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        admission = self.admission
        named = (each for each in self.resource.subresources if each.name == admission.subresource)
        self.part = next(named, None)
        posted = admission.posted is not None
        self.operation = "CREATE" if posted else admission.operation
        self.kind = kind_of(self.resource.kind, self.part, self.connection)

    @property
    def connection(self) -> str:
        """The kind of a connection's options; empty where it is none."""
        if self.admission.operation != "CONNECT":
            return ""
        return CONNECTIONS.get(f"{self.resource.kind.plural}/{self.admission.subresource}", "")

    @property
    def namespace(self) -> str:
        """A Namespace is in itself."""
        if self.resource.kind.type is Namespace:
            return self.admission.name
        return self.admission.namespace if self.resource.kind.namespaced else ""

    async def look(self, objects: Objects) -> "Versioned":
        """Make JSON of what is asked; another version may be made by a webhook."""
        admission = self.admission
        if self.connection:
            self.object = self._connection_options()
        elif admission.posted is not None:
            self.object = await self._as_json(admission.posted, objects)
        else:
            self.object = await self._as_json(admission.object, objects)
            self.old = await self._as_json(admission.old, objects)
        return self

    def options(self) -> Any:
        """As JSON, with what they are; None for a connection."""
        options, kind = self.admission.options, OPTIONS.get(self.operation)
        if kind is None:
            return None
        found: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
        if isinstance(options, Writing):
            found["fieldManager"] = options.manager
            found["fieldValidation"] = options.validation
        elif kind == "DeleteOptions" and options is not None:
            found = {**to_builtins(options), **found}
        if self.admission.dry_run:
            found["dryRun"] = ["All"]
        return found

    @property
    def changeable(self) -> bool:
        return self.admission.object is not None and self.admission.posted is None and not self.connection

    async def change(self, document: Mapping[str, Any], objects: Objects) -> None:
        """Another object in the place of the request's: read as strictly as what is stored, and defaulted again.

        Malformed where it is no object of the kind."""
        admission, own, part = self.admission, self.admission.resource, self.part
        whole = part is None or part.kind is None
        wanted = self.resource.kind.type if part is None or part.kind is None else part.kind.type
        found, _ = await beside(lambda: decode_value(wanted, document, False), admission.is_long)
        check_identity(self.object, document)
        if not whole and type(admission.object) is own.kind.type:
            assert part is not None and part.write is not None
            admission.object = part.write(admission.object, found)
        elif whole:
            found = await soon(partial(self.resource.default, found))
            if self.resource is not own:
                found = await objects.converted(found, self.resource, own)
            admission.object = await soon(partial(own.default, found))
        else:
            admission.object = found
        self.object = await self._as_json(admission.object, objects)

    async def _as_json(self, obj: Any, objects: Objects) -> Any:
        if obj is None:
            return None
        own, part = self.admission.resource, self.part
        if type(obj) is own.kind.type and part is not None and part.kind is not None and part.read is not None:
            return to_builtins(part.read(obj))
        if type(obj) is own.kind.type and self.resource is not own:
            obj = await objects.converted(obj, own, self.resource)
        found = await beside(lambda: to_builtins(obj), self.admission.is_long)
        group, version, kind = self.kind
        return {**found, "kind": kind, "apiVersion": f"{group}/{version}" if group else version}

    def _connection_options(self) -> Any:
        params: Mapping[str, list[str]] = self.admission.options or {}
        found: dict[str, Any] = {"kind": self.connection, "apiVersion": "v1"}
        for stream in STREAMS:
            if params.get(stream, [""])[0] in ("true", "1"):
                found[stream] = True
        for name in ("container", "path"):
            if name in params:
                found[name] = params[name][0]
        if "command" in params:
            found["command"] = list(params["command"])
        if "ports" in params:
            found["ports"] = port_numbers(params)
        return found


IDENTITY = ("name", "namespace", "uid")


def check_identity(before: Any, after: Mapping[str, Any]) -> None:
    """Malformed where it has become another object: the request's name and place have been decided on."""
    was, now = before.get("metadata", {}), after.get("metadata") or {}
    for field_ in IDENTITY:
        if was.get(field_) != now.get(field_):
            raise Malformed(f"metadata.{field_} may not be changed from {was.get(field_)!r} to {now.get(field_)!r}")


def kind_of(kind: Kind, part: Subresource | None, connection: str) -> GroupVersionKind:
    if connection:
        return "", "v1", connection
    if part is not None and part.kind is not None:
        kind = part.kind
    return kind.group, kind.version, kind.kind
