"""The rules for the schemas in a definition, besides that they are structural: what OpenAPI v3 as Kubernetes has it
allows, that lists with keys can be told apart by them, and that what is filled in is itself valid.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import repeated
from kybern.registry.customresources.places import Schema

TYPES = ("array", "boolean", "integer", "number", "object", "string")
LIST_TYPE, MAP_KEYS, MAP_TYPE = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"
KEEPS, EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
"""Of JSON schema, what Kubernetes does not take over."""

JUNCTORS = ("allOf", "oneOf", "anyOf")
METADATA = ("metadata", "kind", "apiVersion")
AT_ROOT_WITH_STATUS = {
    "description", "type", "format", "title", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum", "maxLength",
    "minLength", "pattern", "maxItems", "minItems", "uniqueItems", "multipleOf", "required", "items", "properties",
    "externalDocs", "example", KEEPS, "x-kubernetes-validations",
}  # fmt: skip
NAMES_AT_ROOT = (
    "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems "
    "MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]"
)


@dataclass(frozen=True, slots=True)
class Around:
    """What holds for a part because of where it is."""

    inside_metadata: bool = False
    no_defaults: str = ""
    """Why no default may be set here; empty where one may."""


def root_errors(schema: Schema, at: str, has_status: bool) -> Iterator[FieldError]:
    if has_status:
        if schema.get("type") not in (None, "", "object"):
            why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
            yield invalid_value(f"{at}.type", schema["type"], why)
        elif any(value not in (None, False, "") and key not in AT_ROOT_WITH_STATUS for key, value in schema.items()):
            why = f"only {NAMES_AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
            yield invalid_value(at, schema, why)
    if schema.get("nullable"):
        yield forbidden_field(f"{at}.nullable", "nullable cannot be true at the root")


def schema_errors(schema: Schema, at: str, around: Around = Around(), is_root: bool = True) -> Iterator[FieldError]:
    yield from own_errors(schema, at, around)
    values, properties = schema.get("additionalProperties"), schema.get("properties", {})
    if values is not None:
        if properties and values is not True:
            why = "additionalProperties and properties are mutual exclusive"
            yield forbidden_field(f"{at}.additionalProperties", why)
        if isinstance(values, Mapping):
            below = around
            if around.inside_metadata:
                below = replace(around, no_defaults="inside additionalProperties applying to object metadata")
            yield from schema_errors(values, f"{at}.additionalProperties", below, False)
    for name, part in properties.items():
        below = around
        if name in METADATA and (is_root or schema.get(EMBEDDED)):
            reason = f"in top-level {name}" if is_root else around.no_defaults
            below = Around(inside_metadata=True, no_defaults=reason)
        yield from schema_errors(part, f"{at}.properties[{name}]", below, False)
    if isinstance(schema.get("not"), Mapping):
        yield from schema_errors(schema["not"], f"{at}.not", around, False)
    for junctor in JUNCTORS:
        for index, part in enumerate(schema.get(junctor) or ()):
            yield from schema_errors(part, f"{at}.{junctor}[{index}]", around, False)
    if isinstance(schema.get("items"), Mapping):
        yield from schema_errors(schema["items"], f"{at}.items", around, False)
    yield from merging_errors(schema, at)


def own_errors(schema: Schema, at: str, around: Around) -> Iterator[FieldError]:
    kind = schema.get("type")
    if kind and kind not in TYPES:
        yield not_supported(f"{at}.type", kind, TYPES)
    if schema.get("default") is not None and around.no_defaults:
        yield forbidden_field(f"{at}.default", f"must not be set {around.no_defaults}")
    for name in UNSUPPORTED:
        if schema.get(name) not in (None, "", {}) or (name == "dependencies" and schema.get(name) is not None):
            yield forbidden_field(f"{at}.{name}", f"{name} is not supported")
    if kind == "null":
        yield forbidden_field(f"{at}.type", "type cannot be set to null, use nullable as an alternative")
    if isinstance(schema.get("items"), list):
        yield forbidden_field(f"{at}.items", "items must be a schema object and not an array")
    if around.inside_metadata and schema.get(EMBEDDED):
        yield forbidden_field(f"{at}.{EMBEDDED}", "must not be used inside of resource meta")
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_field(f"{at}.uniqueItems", why)
    if schema.get(KEEPS) is False:
        yield invalid_value(f"{at}.{KEEPS}", False, "must be true or undefined")


# --- how parts merge --------------------------------------------------------------------------------------------------


def merging_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    kind, list_type, map_type = schema.get("type", ""), schema.get(LIST_TYPE), schema.get(MAP_TYPE)
    if map_type is not None:
        yield from of_type(kind, "object", f"{at}.type", f"must be object if {MAP_TYPE} is specified")
        if map_type not in ("atomic", "granular"):
            yield not_supported(f"{at}.{MAP_TYPE}", map_type, ("atomic", "granular"))
    if list_type is not None:
        if kind != "array":
            yield from of_type(kind, "array", f"{at}.type", f"must be array if {LIST_TYPE} is specified")
        elif list_type == "set" and isinstance(schema.get("items"), Mapping):
            yield from set_errors(schema["items"], f"{at}.items")
        if list_type not in ("atomic", "set", "map"):
            yield not_supported(f"{at}.{LIST_TYPE}", list_type, ("atomic", "set", "map"))
    keys = schema.get(MAP_KEYS) or []
    if keys and list_type != "map":
        why = f"must be map if {MAP_KEYS} is non-empty"
        at_type = f"{at}.{LIST_TYPE}"
        yield required(at_type, why) if list_type is None else invalid_value(at_type, list_type, why)
    if list_type == "map":
        yield from keyed_errors(schema, keys, at)
    if list_type in ("set", "map") and isinstance(schema.get("items"), Mapping):
        yield from item_errors(schema["items"], keys if list_type == "map" else [], list_type, at)


def of_type(kind: str, wanted: str, at: str, why: str) -> Iterator[FieldError]:
    if not kind:
        yield required(at, why)
    elif kind != wanted:
        yield invalid_value(at, kind, why)


def set_errors(items: Schema, at: str) -> Iterator[FieldError]:
    why = f"must be atomic as item of a list with {LIST_TYPE}=set"
    if items.get("type") == "array" and items.get(LIST_TYPE) not in (None, "atomic"):
        yield invalid_value(f"{at}.{LIST_TYPE}", items[LIST_TYPE], why)
    if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        yield invalid_value(f"{at}.{MAP_TYPE}", items.get(MAP_TYPE), why)


def keyed_errors(schema: Schema, keys: list[str], at: str) -> Iterator[FieldError]:
    items = schema.get("items")
    if not keys:
        yield required(f"{at}.{MAP_KEYS}", f"must not be empty if {LIST_TYPE} is map")
    if items is None:
        yield required(f"{at}.items", f"must have a schema if {LIST_TYPE} is map")
        return
    if not isinstance(items, Mapping):
        yield invalid_value(f"{at}.items", items, f"must only have a single schema if {LIST_TYPE} is map")
        return
    if items.get("type") != "object":
        why = f"must be object if parent array's {LIST_TYPE} is map"
        yield invalid_value(f"{at}.items.type", items.get("type", ""), why)
        return
    again = repeated(keys)
    for index, key in enumerate(keys):
        part: Any = items.get("properties", {}).get(key)
        if part is None:
            yield invalid_value(f"{at}.{MAP_KEYS}", keys, "entries must all be names of item properties")
        elif part.get("type") in ("array", "object"):
            why = f"must be a scalar type if parent array's {LIST_TYPE} is map"
            yield invalid_value(f"{at}.items.properties[{key}].type", items["type"], why)
        if index in again:
            yield invalid_value(f"{at}.{MAP_KEYS}", keys, "must not contain duplicate entries")


def item_errors(items: Schema, keys: list[str], list_type: str, at: str) -> Iterator[FieldError]:
    if items.get("nullable"):
        yield forbidden_field(f"{at}.items.nullable", f"cannot be nullable when {LIST_TYPE} is {list_type}")
    for key in keys:
        part = items.get("properties", {}).get(key)
        if part is None:
            continue
        here = f"{at}.items.properties[{key}]"
        if key not in items.get("required", ()) and part.get("default") is None:
            why = f"this property is in {MAP_KEYS}, so it must have a default or be a required property"
            yield required(f"{here}.default", why)
        if part.get("nullable"):
            yield forbidden_field(f"{here}.nullable", f"this property is in {MAP_KEYS}, so it cannot be nullable")
