"""The rules for one version of a definition: its schema, subresources, columns, selectable fields, deprecation."""

from collections.abc import Iterable, Iterator
from typing import Any

from kybern.api.apiextensions_v1 import (
    CustomResourceColumnDefinition,
    CustomResourceDefinitionVersion,
    CustomResourceSubresources,
    CustomResourceSubresourceScale,
    SelectableField,
)
from kybern.api.codec import encode, untyped
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, required, too_many
from kybern.api.patterns import effort
from kybern.registry.customresources import jsonpath
from kybern.registry.customresources.defaults import default_errors
from kybern.registry.customresources.fieldpaths import InvalidPath, resolved
from kybern.registry.customresources.places import Schema, has_rules, parts_of
from kybern.registry.customresources.schemas import root_errors, schema_errors
from kybern.registry.customresources.structural import structural_errors

COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SELECTABLE_MAX = 8
SELECTABLE_TYPES = ("string", "boolean", "integer")
WARNING_CHARACTERS_MAX = 256
PARTS_MAX = 30_000
"""Of one schema: the largest real ones have some ten thousand, and each costs whoever writes or reads it."""

EFFORT_MAX = 300_000
"""Microseconds, for the different patterns of one schema."""

TOO_MANY_PATTERNS = "the patterns of a schema take too long to compile"
TOO_MANY_PARTS = f"a schema has at most {PARTS_MAX} parts"


def validate_version(
    version: CustomResourceDefinitionVersion, before: CustomResourceDefinitionVersion | None, at: str
) -> Iterator[FieldError]:
    yield from validate_deprecation(version, at)
    schema = openapi_of(version)
    given = version.schema is not None and version.schema.open_apiv3_schema is not None
    if given and (before is None or before.schema != version.schema):
        parts = version.subresources
        yield from validate_schema(
            schema, f"{at}.schema.openAPIV3Schema", parts is not None and parts.status is not None
        )
    yield from validate_subresources(version.subresources, f"{at}.subresources")
    for index, column in enumerate(version.additional_printer_columns or ()):
        yield from validate_column(column, f"{at}.additionalPrinterColumns[{index}]")
    if version.selectable_fields:
        yield from validate_selectable(version.selectable_fields, schema, f"{at}.selectableFields")


def openapi_of(version: CustomResourceDefinitionVersion) -> dict[str, Any]:
    found = version.schema.open_apiv3_schema if version.schema is not None else None
    openapi: dict[str, Any] = untyped(encode(found)) if found is not None else {}
    return openapi


def validate_schema(schema: Schema, at: str, has_status: bool) -> Iterator[FieldError]:
    parts = parts_of(schema)
    if len(parts) > PARTS_MAX:
        yield forbidden_field(at, TOO_MANY_PARTS)
        return
    if sum(map(effort, {part["pattern"] for part in parts if isinstance(part.get("pattern"), str)})) > EFFORT_MAX:
        yield forbidden_field(at, TOO_MANY_PATTERNS)
        return
    yield from root_errors(schema, at, has_status)
    wrong = list(schema_errors(schema, at))
    structure = structural_errors(schema, at)
    yield from structure or default_errors(schema, at)
    yield from wrong
    if not wrong and not structure and has_rules(schema):
        from kybern.registry.customresources.rule_checks import rule_errors

        yield from rule_errors(schema, at)


def validate_deprecation(version: CustomResourceDefinitionVersion, at: str) -> Iterator[FieldError]:
    warning = version.deprecation_warning
    if warning is None:
        return
    at = f"{at}.deprecationWarning"
    if not version.deprecated:
        yield invalid_value(at, warning, "can only be set for deprecated versions")
        return
    if len(warning.encode(errors="replace")) > WARNING_CHARACTERS_MAX:
        yield invalid_value(at, warning, f"must be <= {WARNING_CHARACTERS_MAX} characters long")
    if not warning:
        yield invalid_value(at, warning, "must not be an empty string")
    for index, mark in enumerate(warning):
        if not mark.isprintable():
            why = f"must only contain printable UTF-8 characters; non-printable character found at index {index}"
            yield invalid_value(at, warning, why)
            return


def validate_subresources(found: CustomResourceSubresources | None, at: str) -> Iterator[FieldError]:
    if found is not None and found.scale is not None:
        yield from validate_scale(found.scale, f"{at}.scale")


def validate_scale(scale: CustomResourceSubresourceScale, at: str) -> Iterator[FieldError]:
    for field, path, below in (
        ("specReplicasPath", scale.spec_replicas_path, ".spec."),
        ("statusReplicasPath", scale.status_replicas_path, ".status."),
    ):
        if not path:
            yield required(f"{at}.{field}")
        elif not path.startswith("."):
            yield from simple_path_errors(path, f"{at}.{field}")
        elif not path.startswith(below):
            yield invalid_value(f"{at}.{field}", path, f"should be a json path under {below.rstrip('.')}")
    selector = scale.label_selector_path
    if selector and not selector.startswith("."):
        yield from simple_path_errors(selector, f"{at}.labelSelectorPath")
    elif selector and not selector.startswith((".spec.", ".status.")):
        why = "should be a json path under either .spec or .status"
        yield invalid_value(f"{at}.labelSelectorPath", selector, why)


def simple_path_errors(path: str, at: str) -> Iterator[FieldError]:
    if not path.startswith("."):
        yield invalid_value(at, path, "must be a simple json path starting with .")
        return
    try:
        jsonpath.parsed(path)
    except ValueError as error:
        yield invalid_value(at, path, str(error))


def validate_column(column: CustomResourceColumnDefinition, at: str) -> Iterator[FieldError]:
    if not column.name:
        yield required(f"{at}.name")
    listed = f"must be one of {','.join(COLUMN_TYPES)}"
    if not column.type:
        yield required(f"{at}.type", listed)
    elif column.type not in COLUMN_TYPES:
        yield invalid_value(f"{at}.type", column.type, listed)
    if column.format and column.format not in COLUMN_FORMATS:
        yield invalid_value(f"{at}.format", column.format, f"must be one of {','.join(COLUMN_FORMATS)}")
    if not column.json_path:
        yield required(f"{at}.JSONPath")
    else:
        yield from simple_path_errors(column.json_path, f"{at}.JSONPath")


def validate_selectable(fields: Iterable[SelectableField], schema: Schema, at: str) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        here, path = f"{at}[{index}].jsonPath", field.json_path
        if not path:
            yield required(here)
            continue
        try:
            steps, part = resolved(path, schema, brackets=False)
        except InvalidPath as error:
            yield invalid_value(here, path, f"is an invalid path: {error}")
            continue
        if steps[:1] == ["metadata"]:
            yield invalid_value(here, path, "must not point to fields in metadata")
        if part.get("type") not in SELECTABLE_TYPES:
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with formats "
                "are allowed."
            )
            yield invalid_value(here, path, why)
        if ".".join(steps) in seen:
            yield duplicate(here, path)
        seen.add(".".join(steps))
    if len(seen) > SELECTABLE_MAX:
        yield too_many(at, len(seen), SELECTABLE_MAX)
