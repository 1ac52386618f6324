"""What is wrong with a field: validation rules yield these, in upstream's words.

A `FieldError` prints as `spec.replicas: Invalid value: -1: must be greater than or equal to 0`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class FieldError:
    field: str
    reason: str
    """The cause's reason, `FieldValueInvalid` say."""
    body: str
    """The message without the field."""

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def printed(value: Any) -> str:
    """A bad value as Go's `%#v` shows it in upstream's messages."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return str(value)
    plain = msgspec.to_builtins(value, order="deterministic", enc_hook=str)
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid_value(field: str, value: Any, detail: str) -> FieldError:
    more = f": {detail}" if detail else ""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {printed(value)}{more}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    listed = ", ".join(f'"{name}"' for name in supported)
    return FieldError(
        field, "FieldValueNotSupported", f"Unsupported value: {printed(value)}: supported values: {listed}"
    )


def duplicate(field: str, value: Any, detail: str = "") -> FieldError:
    more = f": {detail}" if detail else ""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {printed(value)}{more}")


def not_found_value(field: str, value: Any, detail: str = "") -> FieldError:
    more = f": {detail}" if detail else ""
    return FieldError(field, "FieldValueNotFound", f"Not found: {printed(value)}{more}")


def forbidden_field(field: str, detail: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def too_long(field: str, value: Any, max_length: int) -> FieldError:
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {max_length} bytes")


def too_many(field: str, actual: int, most: int) -> FieldError:
    return FieldError(field, "FieldValueTooMany", f"Too many: {actual}: must have at most {most} items")
