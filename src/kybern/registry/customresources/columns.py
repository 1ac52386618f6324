"""additionalPrinterColumns: what `kubectl get` shows of a custom resource, besides its name."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from kybern.api.apiextensions_v1 import CustomResourceColumnDefinition
from kybern.api.codec import to_builtins
from kybern.api.custom import CustomObject
from kybern.registry.columns import AGE, NAME, age
from kybern.registry.customresources import jsonpath
from kybern.registry.resource import Column


def columns(defined: Iterable[CustomResourceColumnDefinition] | None) -> tuple[Column, ...]:
    return (NAME, *(column(one) for one in defined)) if defined else (NAME, AGE)


def column(defined: CustomResourceColumnDefinition) -> Column:
    described = f"Custom resource definition column (in JSONPath format): {defined.json_path}"
    return Column(
        defined.name,
        cell(defined.json_path, defined.type),
        type=defined.type,
        format=defined.format or "",
        priority=defined.priority or 0,
        description=defined.description or described,
    )


def cell(path: str, kind: str) -> Callable[[CustomObject, float], Any]:
    steps = jsonpath.parsed(path)
    in_metadata = path.startswith(".metadata")

    def shown(obj: CustomObject, now: float) -> Any:
        value: Any = {**obj, "metadata": to_builtins(obj.metadata)} if in_metadata else obj
        found = next(jsonpath.walk(steps, value), None)
        return None if found is None else printed(found, kind, now)

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
