"""How a running expression gets at values: variables, what is bound to a name, fields, and what may not be there."""

from collections.abc import Mapping
from typing import Any

from kybern.cel.errors import EvaluationError, no_such_overload
from kybern.cel.frame import Frame, Run
from kybern.cel.values import NONE, Optional, has_key, kind_of

UNSET = object()
"""In the slot of a bound name that nobody has asked for yet."""


def constant(value: Any) -> Run:
    return lambda frame: value


def at_slot(slot: int) -> Run:
    return lambda frame: frame.slots[slot]


def lazy(slot: int, value: Run, cost: int) -> Run:
    """A bound name is worked out when it is first asked for."""

    def run(frame: Frame) -> Any:
        found = frame.slots[slot]
        if found is UNSET:
            frame.spend(cost)
            found = frame.slots[slot] = value(frame)
        return found

    return run


def variable(name: str) -> Run:
    def run(frame: Frame) -> Any:
        try:
            return frame.values[name]
        except KeyError:
            raise EvaluationError(f"no such attribute(s): {name}") from None

    return run


def selected(operand: Run, key: str) -> Run:
    def run(frame: Frame) -> Any:
        found = operand(frame)
        if type(found) is dict:
            try:
                return found[key]
            except KeyError:
                raise EvaluationError(f"no such key: {key}") from None
        if isinstance(found, Optional):
            return chosen(found, key)
        if isinstance(found, Mapping) and key in found:
            return found[key]
        raise EvaluationError(f"no such key: {key}") if isinstance(found, Mapping) else no_such_overload()

    return run


def chosen(found: Any, key: Any) -> Optional:
    """What stands under the key, if anything does."""
    if isinstance(found, Optional):
        if not found.present:
            return NONE
        found = found.value
    match kind_of(found):
        case "map":
            if not has_key(found, key):
                return NONE
            value = found[key]
            return value if isinstance(value, Optional) else Optional(value)
        case "list":
            index = as_index(key)
            return Optional(found[index]) if 0 <= index < len(found) else NONE
    raise no_such_overload()


def as_index(value: Any) -> int:
    if kind_of(value) not in ("int", "uint", "double") or value != int(value):
        raise no_such_overload()
    return int(value)


def selected_optionally(operand: Run, key: str) -> Run:
    def run(frame: Frame) -> Any:
        found = chosen(operand(frame), key)
        if found.present:
            frame.spend(1)
        return found

    return run


def tested(operand: Run, key: str) -> Run:
    def run(frame: Frame) -> Any:
        found = operand(frame)
        if isinstance(found, Optional):
            return chosen(found, key).present
        if not isinstance(found, Mapping):
            raise no_such_overload()
        return key in found

    return run


def as_optional(value: Any) -> Optional:
    if not isinstance(value, Optional):
        raise no_such_overload()
    return value


def put(found: dict[Any, Any], key: Any, value: Any, optional: bool) -> None:
    if optional:
        if not as_optional(value).present:
            return
        value = value.value
    if kind_of(key) not in ("string", "int", "uint", "bool"):
        raise EvaluationError("unsupported key type")
    if has_key(found, key):
        raise EvaluationError(f"Failed with repeated key: {key}")
    found[key] = value


def mapped(value: Run, slot: int, body: Run, body_cost: int, kind: str) -> Run:
    def run(frame: Frame) -> Any:
        found = as_optional(value(frame))
        if not found.present:
            frame.spend(1)
            return NONE
        frame.spend(body_cost)
        frame.slots[slot] = found.value
        result = body(frame)
        return Optional(result) if kind == "optMap" else as_optional(result)

    return run
