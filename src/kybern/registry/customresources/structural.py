"""Is a schema structural: does every part of it say what it is, so that objects can be pruned and completed by it?

- A type at the root, which is `object`, and at every property and item, unless a part takes a number or a text, or keeps
  what it does not know.
- What stands in allOf, anyOf, oneOf and not says nothing of what a part is, only what its values may be; and it speaks
  only of parts that the schema itself has.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.invalid import FieldError, forbidden_field, invalid_value, required
from kybern.registry.customresources.patterns import pattern
from kybern.registry.customresources.places import Schema

UNTYPED = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
EITHER = [{"type": "integer"}, {"type": "string"}]
JUNCTORS = ("anyOf", "allOf", "oneOf")
METADATA_MAY_SAY = {"type", "properties", "default"}
METADATA_MAY_HAVE = {"name", "generateName"}
EMBEDDED, KEEPS, INT_OR_STRING = (
    "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
)  # fmt: skip
NOT_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (KEEPS, "must be false to be structural"),
    (EMBEDDED, "must be false to be structural"),
    (INT_OR_STRING, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def structural_errors(schema: Schema, at: str) -> list[FieldError]:
    found = [*part_errors(schema, at, "root"), *completeness(schema, schema, at, at)]
    return sorted(found, key=str)


def part_errors(schema: Schema, at: str, level: str) -> Iterator[FieldError]:
    kind, items, values = schema.get("type"), schema.get("items"), schema.get("additionalProperties")
    if kind == "array" and items is None:
        yield required(f"{at}.items", "must be specified")
    if isinstance(items, Mapping):
        yield from part_errors(items, f"{at}.items", "item")
    for key, part in schema.get("properties", {}).items():
        yield from part_errors(part, f"{at}.properties[{key}]", "field")
    if values is not None:
        if level == "root":
            yield forbidden_field(f"{at}.additionalProperties", "must not be used at the root")
        if isinstance(values, Mapping):
            yield from part_errors(values, f"{at}.additionalProperties", "field")
    yield from extension_errors(schema, at)
    yield from value_errors(schema, at, schema.get("anyOf") == EITHER, takes_either(schema))
    yield from type_errors(schema, at, level)
    yield from object_errors(schema, at, level)


def takes_either(schema: Schema) -> bool:
    all_of = schema.get("allOf") or [{}]
    return bool(all_of[0].get("anyOf") == EITHER)


def extension_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    if schema.get(INT_OR_STRING):
        for name in (KEEPS, EMBEDDED):
            if schema.get(name):
                yield invalid_value(f"{at}.{name}", True, f"must be false if {INT_OR_STRING} is true")


def type_errors(schema: Schema, at: str, level: str) -> Iterator[FieldError]:
    kind = schema.get("type", "")
    if schema.get(EMBEDDED) and kind != "object":
        why = f"must be object if {EMBEDDED} is true"
        yield invalid_value(f"{at}.type", kind, why) if kind else required(f"{at}.type", why)
    elif not kind and not schema.get(INT_OR_STRING) and not schema.get(KEEPS):
        yield required(f"{at}.type", UNTYPED[level])
    if level == "root" and kind and kind != "object":
        yield invalid_value(f"{at}.type", kind, "must be object at the root")


def object_errors(schema: Schema, at: str, level: str) -> Iterator[FieldError]:
    embedded = bool(schema.get(EMBEDDED))
    properties = schema.get("properties", {})
    if embedded and schema.get("additionalProperties") is not None:
        yield forbidden_field(f"{at}.additionalProperties", f"must not be used if {EMBEDDED} is set")
    if level == "root" or embedded:
        for name in ("kind", "apiVersion"):
            if name in properties and properties[name].get("type") != "string":
                yield invalid_value(f"{at}.properties[{name}].type", properties[name].get("type", ""), "must be string")
        if "metadata" in properties and properties["metadata"].get("type") != "object":
            kind = properties["metadata"].get("type", "")
            yield invalid_value(f"{at}.properties[metadata].type", kind, "must be object")
    if level == "root" and "metadata" in properties and says_too_much(properties["metadata"]):
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        yield forbidden_field(f"{at}.properties[metadata]", why)
    if embedded and not schema.get(KEEPS) and not properties:
        why = f"must not be empty if {EMBEDDED} is true without {KEEPS}"
        yield required(f"{at}.properties", why)


def says_too_much(metadata: Schema) -> bool:
    said = {key for key, value in metadata.items() if value not in (None, False, "")}
    return not said <= METADATA_MAY_SAY or not metadata.get("properties", {}).keys() <= METADATA_MAY_HAVE


# --- what speaks of values only ---------------------------------------------------------------------------------------


def value_errors(schema: Schema, at: str, skip_any_of: bool = False, skip_first: bool = False) -> Iterator[FieldError]:
    for junctor in JUNCTORS:
        for index, part in enumerate(schema.get(junctor) or ()):
            if junctor == "anyOf" and skip_any_of:
                continue
            first = junctor == "allOf" and skip_first and index == 0
            yield from nested_errors(part, f"{at}.{junctor}[{index}]", skip_any_of=first)
    if schema.get("not") is not None:
        yield from nested_errors(schema["not"], f"{at}.not")
    if schema.get("pattern"):
        try:
            pattern(schema["pattern"])
        except ValueError as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            yield invalid_value(f"{at}.pattern", schema["pattern"], why)


def nested_errors(schema: Schema, at: str, skip_any_of: bool = False) -> Iterator[FieldError]:
    yield from value_errors(schema, at, skip_any_of)
    if isinstance(schema.get("items"), Mapping):
        yield from nested_errors(schema["items"], f"{at}.items")
    properties = schema.get("properties", {})
    for key, part in properties.items():
        yield from nested_errors(part, f"{at}.properties[{key}]")
    for name, why in NOT_NESTED:
        if schema.get(name) not in (None, False, "", []):
            yield forbidden_field(f"{at}.{name}", why)
    if "metadata" in properties:
        yield forbidden_field(f"{at}.properties[metadata]", "must not be specified in a nested context")


# --- values of parts that there are -----------------------------------------------------------------------------------


def completeness(values: Schema, schema: Schema, at: str, values_at: str) -> Iterator[FieldError]:
    """Whatever is said of a part's values, the schema has that part. The parts of the schema itself are not looked at:
    they say of themselves."""
    for junctor in JUNCTORS:
        for index, part in enumerate(values.get(junctor) or ()):
            yield from nested_completeness(part, schema, at, f"{values_at}.{junctor}[{index}]")
    if values.get("not") is not None:
        yield from nested_completeness(values["not"], schema, at, f"{values_at}.not")


def nested_completeness(values: Schema, schema: Any, at: str, values_at: str) -> Iterator[FieldError]:
    if not isinstance(schema, Mapping):
        yield required(at, f"because it is defined in {values_at}")
        return
    yield from completeness(values, schema, at, values_at)
    if isinstance(values.get("items"), Mapping):
        yield from nested_completeness(values["items"], schema.get("items"), f"{at}.items", f"{values_at}.items")
    for key, part in values.get("properties", {}).items():
        here = f"properties[{key}]"
        yield from nested_completeness(
            part, schema.get("properties", {}).get(key), f"{at}.{here}", f"{values_at}.{here}"
        )
