"""What an expression made, as JSON: `Object{...}` must be what stands at its place, and one value is not a million.

Values may share parts, so how much comes of them is bounded, not only how much there is.
"""

from typing import Any

from kybern.cel import times
from kybern.cel.compile import Built
from kybern.cel.values import Optional, kind_of

VALUES_MAX = 500_000


class NoJson(Exception):
    pass


def json_of(value: Any, path: str = "") -> Any:
    """`path`, where it is one object whose parts must be named by their places: `Object`."""
    return converted(value, path, [VALUES_MAX])


def converted(value: Any, path: str, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise NoJson("the result is too large")
    match kind_of(value):
        case "map":
            check_name(value, path)
            return {
                text(key): converted(item, path and f"{path}.{key}", left)
                for key, item in value.items()
                if not is_none(item)
            }
        case "list":
            return [converted(item, path, left) for item in value if not is_none(item)]
        case "int" | "uint":
            return int(value)
        case "timestamp":
            return times.text_of_timestamp(value)
        case "duration":
            return times.text_of_duration(value)
        case "bytes" | "type" | "opaque":
            if isinstance(value, Optional):
                return converted(value.value, path, left)
            raise NoJson(f"unsupported type: {kind_of(value)}")
    return value


def is_none(value: Any) -> bool:
    return isinstance(value, Optional) and not value.present


def text(key: Any) -> str:
    if kind_of(key) != "string":
        raise NoJson(f"unsupported key type: {kind_of(key)}")
    return str(key)


def check_name(value: Any, path: str) -> None:
    """`Object.spec{...}` belongs at `spec`."""
    if path and isinstance(value, Built) and value.name != path:
        told = f'type mismatch: unexpected type name "{value.name}", expected "{path}"'
        raise NoJson(f"{told}, which matches field name path from root Object type")
