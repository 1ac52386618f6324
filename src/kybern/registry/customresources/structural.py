"""Is a custom resource's schema structural: does every node say its type, so that fields can be pruned and defaulted?

- A type at the root, which is `object`, and at every property and item, unless the node takes an int or a string, or
  keeps what it does not know.
- Items are one schema; `additionalProperties` and `properties` exclude each other.
- Nothing inside `allOf`, `anyOf`, `oneOf`, `not` says what a node is, only what its values may be.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.apiextensions_v1 import JSONSchemaProps
from kybern.api.codec import from_builtins
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required

TYPES = ("array", "boolean", "integer", "number", "object", "string")
LIST_TYPES = ("atomic", "map", "set")
DEPTH_MAX = 64
NOT_ALLOWED = (
    ("definitions", "definitions"), ("dependencies", "dependencies"), ("id", "id"),
    ("patternProperties", "pattern_properties"), ("additionalItems", "additional_items"), ("$ref", "ref"),
)  # fmt: skip


def validate_schema(schema: JSONSchemaProps, at: str) -> Iterator[FieldError]:
    if not schema.type:
        yield required(f"{at}.type", "must not be empty at the root")
    elif schema.type != "object":
        yield invalid_value(f"{at}.type", schema.type, "must be object at the root")
    yield from validate_node(schema, at, 0)


def validate_node(schema: JSONSchemaProps, at: str, depth: int) -> Iterator[FieldError]:
    if depth > DEPTH_MAX:
        yield forbidden_field(at, f"schemas are nested at most {DEPTH_MAX} deep")
        return
    if schema.type and schema.type not in TYPES:
        yield not_supported(f"{at}.type", schema.type, TYPES)
    for field, name in NOT_ALLOWED:
        if getattr(schema, name):
            yield forbidden_field(f"{at}.{field}", f"{field} is not supported")
    if schema.unique_items:
        yield forbidden_field(
            f"{at}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if schema.properties and schema.additional_properties not in (None, False):
        why = "additionalProperties and properties are mutual exclusive"
        yield forbidden_field(f"{at}.additionalProperties", why)
    yield from validate_list(schema, at, depth)
    for name, child in (schema.properties or {}).items():
        yield from validate_child(
            child, f"{at}.properties[{name}]", "must not be empty for specified object fields", depth
        )
    if isinstance(schema.additional_properties, Mapping):
        child = from_builtins(JSONSchemaProps, schema.additional_properties)
        here = f"{at}.additionalProperties"
        yield from validate_child(child, here, "must not be empty for specified object fields", depth)


def validate_child(child: JSONSchemaProps, at: str, untyped: str, depth: int) -> Iterator[FieldError]:
    free = child.x_kubernetes_int_or_string or child.x_kubernetes_preserve_unknown_fields
    if not child.type and not free:
        yield required(f"{at}.type", untyped)
    yield from validate_node(child, at, depth + 1)


def validate_list(schema: JSONSchemaProps, at: str, depth: int) -> Iterator[FieldError]:
    items: Any = schema.items
    if schema.type == "array" and items is None:
        yield required(f"{at}.items", "must be specified")
    elif isinstance(items, Mapping):
        child = from_builtins(JSONSchemaProps, items)
        yield from validate_child(child, f"{at}.items", "must not be empty for specified array items", depth)
    elif items is not None:
        yield forbidden_field(f"{at}.items", "items must be a schema object and not an array")
    kind = schema.x_kubernetes_list_type
    if kind is None:
        return
    if kind not in LIST_TYPES:
        yield not_supported(f"{at}.x-kubernetes-list-type", kind, LIST_TYPES)
    elif schema.type != "array":
        yield invalid_value(f"{at}.type", schema.type or "", "must be array if x-kubernetes-list-type is specified")
    elif kind == "map" and not schema.x_kubernetes_list_map_keys:
        yield required(f"{at}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
