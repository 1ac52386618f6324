"""Is an applied configuration one of its schema? In upstream's words, each with the place that it is about.

Unlike decoding, which says what a client mistyped, this knows what merging has to know: that no field is undeclared,
and that the items of a list can be told apart.
"""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from kybern.api.apply.fields import key_step, text, value_step
from kybern.api.schema import Node
from kybern.api.shape import Quantity

Path = tuple[str, ...]


def problems(node: Node, value: Any, at: Path = ()) -> Iterator[str]:
    """`.spec.replicas: expected numeric (int or float), got string`."""
    if value is None:
        return
    match node.form:
        case "struct" | "map":
            yield from _of_map(node, value, at)
        case "list":
            yield from _of_list(node, value, at)
        case "scalar":
            wrong = _of_scalar(_plain(node.scalar), node.time, value)
            if wrong:
                yield f"{text(at)}: {wrong}"


def told(found: list[str]) -> str:
    return found[0] if len(found) == 1 else "\n".join(("errors:", *(f"  {one}" for one in found)))


def _of_map(node: Node, value: Any, at: Path) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{text(at)}: expected map, got &{{{_go(value)}}}"
        return
    for key, item in value.items():
        here = (*at, f"f:{key}")
        if node.form == "struct" and key not in node.fields and not node.open:
            yield f"{text(here)}: field not declared in schema"
            return
        yield from problems(node.child(key), item, here)


def _of_list(node: Node, value: Any, at: Path) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{text(at)}: expected list, got &{{{_go(value)}}}"
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        if node.atomic:
            yield from problems(node.item, item, (*at, f"i:{index}"))
            continue
        wrong = _nameless(node, item)
        if wrong:
            yield f"{text(at)}: element {index}: {wrong}"
            return
        step = key_step(item, node.keys, node.key_defaults) if node.keys else value_step(item)
        if step in seen:
            yield f"{text(at)}: duplicate entries for key {text((step,))}"
        seen.add(step)
        yield from problems(node.item, item, (*at, step))


def _nameless(node: Node, item: Any) -> str:
    """Why an item of a set or keyed list cannot be told from others."""
    if not node.keys:
        if not isinstance(item, dict | list):
            return ""
        return (
            f"associative list without keys has an element that's a {'map' if isinstance(item, dict) else 'list'} type"
        )
    if item is None:
        return "associative list with keys may not have a null element"
    if not isinstance(item, dict):
        return "associative list with keys may not have non-map elements"
    missing = next((name for name in node.keys if item.get(name, node.key_defaults.get(name)) is None), None)
    if missing is None:
        return ""
    return (
        f'associative list with keys has an element that omits key field "{missing}" (and doesn\'t have default value)'
    )


# --- scalars ----------------------------------------------------------------------------------------------------------


def _plain(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _of_scalar(wanted: Any, time: str, value: Any) -> str:
    if wanted in (int, float):
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if numeric else f"expected numeric (int or float), got {_go_type(value)}"
    if wanted is bool:
        return "" if isinstance(value, bool) else f"expected boolean, got &{{{_go(value)}}}"
    if wanted is str and not time:
        return "" if isinstance(value, str) else f"expected string, got &value.valueUnstructured{{Value:{_go(value)}}}"
    if wanted is Quantity or time or isinstance(value, str | int | float):
        return f"expected any scalar, got &{{{_go(value)}}}" if isinstance(value, dict | list) else ""
    return f"expected any scalar, got &{{{_go(value)}}}"


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", dict: "map[string]interface {}"}
    return names.get(type(value), "[]interface {}")


def _go(value: Any) -> str:
    """As Go prints what was decoded from JSON."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
