"""additionalPrinterColumns: what `kubectl get` shows of a custom resource, besides its name."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.api.apiextensions_v1 import CustomResourceColumnDefinition
from kybern.api.codec import to_builtins
from kybern.api.custom import CustomObject
from kybern.registry.columns import AGE, NAME, age
from kybern.registry.customresources import jsonpath
from kybern.registry.customresources.defaulting import is_longer
from kybern.registry.resource import Column

ROW_VALUES_MAX = 10_000  # that are looked at for one row
ROW_BYTES_MAX = 256 * 1024  # of its cells


def columns(defined: Sequence[CustomResourceColumnDefinition] | None) -> tuple[Column, ...]:
    """What is looked at and shown in a row has bounds, of which each column has its share."""
    if not defined:
        return NAME, AGE
    values, size = ROW_VALUES_MAX // len(defined) + 1, ROW_BYTES_MAX // len(defined) + 1
    return (NAME, *(column(one, values, size) for one in defined))


def column(defined: CustomResourceColumnDefinition, values_max: int, bytes_max: int) -> Column:
    described = f"Custom resource definition column (in JSONPath format): {defined.json_path}"
    return Column(
        defined.name,
        cell(defined.json_path, defined.type, values_max, bytes_max),
        type=defined.type,
        format=defined.format or "",
        priority=defined.priority or 0,
        description=defined.description or described,
    )


def cell(path: str, kind: str, values_max: int, bytes_max: int) -> Callable[[CustomObject, float], Any]:
    in_metadata, of_managers = path.startswith(".metadata"), "managedFields" in path

    def shown(obj: CustomObject, now: float) -> Any:
        value: Any = obj
        if in_metadata:
            meta = obj.metadata if of_managers else replace(obj.metadata, managed_fields=None)
            value = {**obj, "metadata": to_builtins(meta)}
        found = jsonpath.first(path, value, values_max)
        return None if found is None or is_longer(found, bytes_max) else printed(found, kind, now)

    return shown


def printed(value: Any, kind: str, now: float) -> Any:
    """A cell of the column's type; None where the value is of another."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            return text(value)
        case "integer":
            return int(value) if is_number else None
        case "number":
            return float(value) if is_number else None
        case "boolean":
            return value if isinstance(value, bool) else None
        case "date":
            return shown_age(value, now) if isinstance(value, str) else None
    return None


def text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value, order="sorted").decode()


def shown_age(moment: str, now: float) -> str:
    shown = age(moment, now)
    return shown if shown != "<unknown>" else "<invalid>"
