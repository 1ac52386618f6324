"""Custom kinds to JSON schemas: what their definitions say, with what every object has besides.

OpenAPI 3 says nearly all of it. OpenAPI 2 has no alternatives and no null, and its readers (kubectl before 1.27 above
all) take a type without properties for one that may not have any; so there what cannot be said is left out, and where
anything may stand, nothing is said.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.api.kind import Kind
from kybern.apiserver.openapi.definitions import META, V2, Dialect, Schema
from kybern.registry.resource import Resource

KEEPS, EMBEDDED, INT_OR_STRING = (
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string",
)  # fmt: skip
GVK = "x-kubernetes-group-version-kind"
CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
VERSION = f"APIVersion defines the version of the schema that this object is of. More info: {CONVENTIONS}#resources"
KIND = f"What kind of object this is. More info: {CONVENTIONS}#types-kinds"
METADATA = f"Standard object's metadata. More info: {CONVENTIONS}#metadata"
LIST_METADATA = f"Standard list metadata. More info: {CONVENTIONS}#types-kinds"
EITHER = [{"type": "integer"}, {"type": "string"}]
ALTERNATIVES = ("allOf", "anyOf", "oneOf", "not")


def model_name(kind: Kind, name: str) -> str:
    """`com.example.v1.Widget`"""
    return ".".join([*reversed(kind.group.split(".")), kind.version, name])


def definitions(resource: Resource, dialect: Dialect) -> dict[str, Schema]:
    """A kind and its list."""
    kind = resource.kind
    own, listed = model_name(kind, kind.kind), model_name(kind, kind.list_kind)
    found = {own: object_schema(kind.type.openapi, dialect), listed: list_schema(kind, own, dialect)}
    for name, of in ((own, kind.kind), (listed, kind.list_kind)):
        found[name][GVK] = [{"group": kind.group, "kind": of, "version": kind.version}]
        if resource.selectable:
            found[name]["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in resource.selectable]
    return found


def list_schema(kind: Kind, own: str, dialect: Dialect) -> Schema:
    about = f"List of {kind.plural}. More info: {CONVENTIONS}"
    return {
        "description": f"{kind.list_kind} is a list of {kind.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **type_properties(),
            "metadata": described(dialect, META + "ListMeta", LIST_METADATA),
            "items": {"description": about, "type": "array", "items": {"$ref": dialect.reference + own}},
        },
    }


def object_schema(openapi: Mapping[str, Any], dialect: Dialect) -> Schema:
    if not openapi or (dialect is V2 and openapi.get(KEEPS)):
        return {"type": "object"}
    found = schema_of(openapi, dialect)
    found["properties"] = {**found.get("properties", {}), **head(dialect)}
    return found


def head(dialect: Dialect) -> dict[str, Schema]:
    return {**type_properties(), "metadata": described(dialect, META + "ObjectMeta", METADATA)}


def type_properties() -> dict[str, Schema]:
    return {"apiVersion": {"description": VERSION, "type": "string"}, "kind": {"description": KIND, "type": "string"}}


def described(dialect: Dialect, name: str, description: str) -> Schema:
    found: Schema = {"$ref": dialect.reference + name}
    return {"description": description, **({"allOf": [found]} if dialect.wraps_references else found)}


def schema_of(schema: Mapping[str, Any], dialect: Dialect) -> Schema:
    """A part of a definition's schema, and what is below it."""
    own = without_alternatives(schema) if dialect is V2 else with_either(schema)
    found = inside(own, lambda part: schema_of(part, dialect))
    if found.get(EMBEDDED) and not (dialect is V2 and found.get(KEEPS)):
        found["properties"] = {**found.get("properties", {}), **head(dialect)}
        found["required"] = [*dict.fromkeys([*found.get("required", ()), "kind", "apiVersion"])]
    return found


def inside(schema: Mapping[str, Any], change: Callable[[Mapping[str, Any]], Schema]) -> Schema:
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {key: change(part) for key, part in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), Mapping):
            found[key] = change(found[key])
    return found


def with_either(schema: Mapping[str, Any]) -> Schema:
    """A number or a text says so, for readers who do not know Kubernetes' own word for it."""
    found = dict(schema)
    first = (found.get("allOf") or [{}])[0]
    if not found.get(INT_OR_STRING) or EITHER in (found.get("anyOf"), first.get("anyOf")):
        return found
    if "anyOf" in found:
        found["allOf"] = [{"anyOf": EITHER}, *found.get("allOf", ())]
    else:
        found["anyOf"] = EITHER
    return found


def without_alternatives(schema: Mapping[str, Any]) -> Schema:
    """What OpenAPI 2 can say of it."""
    found = {key: value for key, value in schema.items() if key not in ALTERNATIVES}
    if found.pop("nullable", False):
        for key in ("type", "items", "properties"):
            found.pop(key, None)
    if found.get(KEEPS):
        for key in ("items", "properties"):
            found.pop(key, None)
    if (found.get("type") == "array" and "items" not in found) or (found.get("type") == "object" and found.get(KEEPS)):
        del found["type"]
    if "required" in found:
        kept = [name for name in found["required"] if not is_nullable(found.get("properties", {}).get(name))]
        values = found.get("additionalProperties")
        found["required"] = [] if is_nullable(values) else kept
        if not found["required"]:
            del found["required"]
    return found


def is_nullable(schema: Any) -> bool:
    return isinstance(schema, Mapping) and bool(schema.get("nullable"))
