"""Types to JSON schemas: one definition for each Struct, named as upstream names it.

Definitions refer to each other by name, so each is built once; `Definitions.complete` follows the references. OpenAPI 2
and 3 differ in where references point and in what may stand beside one; a `Dialect` says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import msgspec

from kybern.api import schema
from kybern.api.apiextensions_v1 import JSONSchemaProps
from kybern.api.schema import Node
from kybern.api.shape import Quantity
from kybern.apiserver.openapi.descriptions import Descriptions

Schema = dict[str, Any]

META = "io.k8s.apimachinery.pkg.apis.meta.v1."
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
TIME, MICRO_TIME = META + "Time", META + "MicroTime"

SCALAR_DEFINITIONS: dict[str, Schema] = {
    QUANTITY: {"description": "An amount: `500m`, `1Gi`, `1e3`.", "type": "string"},
    INT_OR_STRING: {"description": "A number, or a text.", "format": "int-or-string", "type": "string"},
    TIME: {"description": "A moment, in whole seconds.", "format": "date-time", "type": "string"},
    MICRO_TIME: {"description": "A moment, in microseconds.", "format": "date-time", "type": "string"},
}
EITHER: dict[str, Schema] = {
    # OpenAPI 3 can say that something is a text or a number, and then clients call it by its name.
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
PACKAGES = {
    "meta_v1": META.rstrip("."),
    "apiextensions_v1": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
    "apiregistration_v1": "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1",
}
GROUPS = {
    "core": "", "apps": "apps", "batch": "batch", "autoscaling": "autoscaling", "policy": "policy", "meta": "",
    "networking": "networking.k8s.io", "discovery": "discovery.k8s.io", "events": "events.k8s.io",
    "rbac": "rbac.authorization.k8s.io", "authentication": "authentication.k8s.io",
    "authorization": "authorization.k8s.io", "certificates": "certificates.k8s.io",
    "coordination": "coordination.k8s.io", "node": "node.k8s.io", "scheduling": "scheduling.k8s.io",
    "storage": "storage.k8s.io", "admissionregistration": "admissionregistration.k8s.io",
    "apiextensions": "apiextensions.k8s.io", "apiregistration": "apiregistration.k8s.io",
    "flowcontrol": "flowcontrol.apiserver.k8s.io", "resource": "resource.k8s.io",
    "storagemigration": "storagemigration.k8s.io",
}  # fmt: skip
JSON = PACKAGES["apiextensions_v1"] + ".JSON"
ANYTHING: dict[str, str] = {
    JSON: "Any JSON value.",
    f"{JSON}SchemaPropsOrArray": "A schema, or a list of schemas.",
    f"{JSON}SchemaPropsOrBool": "A schema, or whether anything is allowed at all.",
}
SCHEMA_FIELDS = {
    "default": JSON, "example": JSON, "items": f"{JSON}SchemaPropsOrArray",
    "additionalItems": f"{JSON}SchemaPropsOrBool", "additionalProperties": f"{JSON}SchemaPropsOrBool",
}  # fmt: skip
"""What upstream calls the parts of a schema that may be of several types."""
PRIMITIVES: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Dialect:
    reference: str
    """What stands before a definition's name."""
    wraps_references: bool
    """Whether a description beside a reference needs the reference in an `allOf`."""


V2 = Dialect("#/definitions/", wraps_references=False)
V3 = Dialect("#/components/schemas/", wraps_references=True)


def module_of(struct: type[Any]) -> str:
    return struct.__module__.rpartition(".")[2]


def name_of(struct: type[Any]) -> str:
    """`io.k8s.api.core.v1.Pod`"""
    module = module_of(struct)
    group, _, version = module.rpartition("_")
    return f"{PACKAGES.get(module) or f'io.k8s.api.{group}.{version}'}.{struct.__name__}"


def kind_of(struct: type[Any]) -> dict[str, str] | None:
    """The group, version and kind of a type that is an object of its own."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    kind, api_version = fields.get("kind"), fields.get("api_version")
    if (
        kind is None
        or api_version is None
        or not callable(kind.default_factory)
        or not callable(api_version.default_factory)
    ):
        return None
    named = kind.default_factory()
    group, _, version = str(api_version.default_factory()).rpartition("/")
    return {"group": group, "kind": named, "version": version} if named and version else None


class Definitions:
    """A growing set of definitions in one dialect."""

    def __init__(self, dialect: Dialect, descriptions: Descriptions) -> None:
        self.dialect = dialect
        self.descriptions = descriptions
        self.found: dict[str, Schema] = {}
        self.waiting: list[type[Any]] = []
        self.atomic: set[str] = set()

    def complete(self, structs: Iterable[type[Any]]) -> dict[str, Schema]:
        """The definitions of these types and of everything they refer to, by name."""
        self.waiting.extend(structs)
        while self.waiting:
            struct = self.waiting.pop()
            name = name_of(struct)
            if name not in self.found:
                self.found[name] = {}  # a type may refer to itself
                self.found[name] = self._definition(struct)
        for name in self.atomic:
            self.found[name]["x-kubernetes-map-type"] = "atomic"
        return dict(sorted(self.found.items()))

    def _definition(self, struct: type[Any]) -> Schema:
        module = module_of(struct)
        said = self.descriptions.of_fields(module, struct.__name__)
        fields = schema.of(struct).fields
        named = SCHEMA_FIELDS if struct is JSONSchemaProps else {}
        properties = {
            key: self._property(node, said.get(key, ""), named.get(key, "")) for key, node in sorted(fields.items())
        }
        required = sorted(key for key, node in fields.items() if node.shape.required)
        found: Schema = {"type": "object"}
        if description := self.descriptions.of_type(module, struct.__name__):
            found["description"] = description
        if properties:
            found["properties"] = properties
        if required:
            found["required"] = required
        if kind := kind_of(struct):
            found["x-kubernetes-group-version-kind"] = [kind]
        return found

    def _property(self, node: Node, description: str, anything: str) -> Schema:
        found = self._anything(anything) if anything else self.schema(node)
        if "$ref" in found and self.dialect.wraps_references and description:
            found = {"allOf": [found]}
        if description:
            found["description"] = description
        shape = node.shape
        if shape.list_type:
            found["x-kubernetes-list-type"] = shape.list_type
        if shape.map_keys:
            found["x-kubernetes-list-map-keys"] = list(shape.map_keys)
        if shape.patch_strategy:
            found["x-kubernetes-patch-strategy"] = shape.patch_strategy
        if shape.merge_key:
            found["x-kubernetes-patch-merge-key"] = shape.merge_key
        return found

    def schema(self, node: Node) -> Schema:
        match node.form:
            case "struct" if node.struct is not None:
                return self._struct(node, node.struct)
            case "list":
                items = self.schema(node.item) or ({"type": "object"} if node.keys else self._anything(JSON))
                return {"type": "array", "items": items}
            case "map":
                values = self.schema(node.item)
                return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
            case "scalar":
                return self._scalar(node)
        return {}

    def _struct(self, node: Node, struct: type[Any]) -> Schema:
        self.waiting.append(struct)
        if node.shape.map_type == "atomic":
            self.atomic.add(name_of(struct))
        return {"$ref": self.dialect.reference + name_of(struct)}

    def _scalar(self, node: Node) -> Schema:
        if node.time:
            return self._named(MICRO_TIME if node.time == "micro" else TIME)
        if node.scalar is Quantity:
            return self._named(QUANTITY)
        base, format_ = _unwrapped(node.scalar)
        if base not in PRIMITIVES:
            return self._named(INT_OR_STRING)
        return {"type": PRIMITIVES[base], **({"format": format_} if format_ else {})}

    def _anything(self, name: str) -> Schema:
        self.found[name] = {"description": ANYTHING[name]}
        return {"$ref": self.dialect.reference + name}

    def _named(self, name: str) -> Schema:
        found = dict(SCALAR_DEFINITIONS[name])
        if self.dialect is V3 and name in EITHER:
            found = {"description": found["description"], **EITHER[name]}
        self.found[name] = found
        return {"$ref": self.dialect.reference + name}


def _unwrapped(annotation: Any) -> tuple[Any, str]:
    """A scalar's Python type and its OpenAPI format."""
    if get_origin(annotation) is not Annotated:
        return annotation, ""
    inner, *notes = get_args(annotation)
    formats = [(note.extra or {}).get("format", "") for note in notes if isinstance(note, msgspec.Meta)]
    return inner, next(filter(None, formats), "")
