"""Sets of fields, in the very form in which managedFields carry them (FieldsV1).

A set is a tree of dicts. A key is one step of a path: `f:spec` a field, `k:{"name":"a"}` an item of a keyed list,
`v:"x"` an item of a set. A step belongs to the set itself when its dict is empty or has the key `.`.
Trees are never changed once made, so they share their branches freely.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Fields = dict[str, Any]
"""dict[str, Fields]: mypy knows no recursive alias that JSON would fit."""

LEAF: Fields = {}
SELF = "."

_encode = msgspec.json.Encoder(order="sorted").encode


def is_member(branch: Fields) -> bool:
    return not branch or SELF in branch


def union(one: Fields, other: Fields) -> Fields:
    if not one or not other:
        return one or other
    found = dict(one)
    for step, branch in other.items():
        mine = found.get(step)
        found[step] = branch if mine is None else _joined(mine, branch)
    return found


def _joined(one: Fields, other: Fields) -> Fields:
    if one is other or one == other:
        return one
    if not one or not other:
        return {SELF: LEAF, **one, **other}
    return union(one, other)


def minus(one: Fields, other: Fields) -> Fields:
    """The members of `one` that are none of `other`."""
    found = {}
    for step, branch in one.items():
        theirs = other.get(step)
        rest = branch if theirs is None else _rest(branch, theirs)
        if rest is not None:
            found[step] = rest
    return found


def _rest(branch: Fields, theirs: Fields) -> Fields | None:
    below = minus({step: inner for step, inner in branch.items() if step != SELF}, theirs)
    if is_member(branch) and not is_member(theirs):
        return {SELF: LEAF, **below} if below else LEAF
    return below or None


def common(one: Fields, other: Fields) -> Fields:
    """The members of both."""
    found = {}
    for step, branch in one.items():
        theirs = other.get(step)
        if theirs is None or step == SELF:
            continue
        below = common(branch, theirs)
        if is_member(branch) and is_member(theirs):
            found[step] = {SELF: LEAF, **below} if below else LEAF
        elif below:
            found[step] = below
    return found


def without_branches(fields: Fields, gone: Fields) -> Fields:
    """The set without everything at and below the leaves of `gone`."""
    found = {}
    for step, branch in fields.items():
        cut = gone.get(step)
        if cut is None:
            found[step] = branch
        elif cut and branch:
            rest = without_branches(branch, cut)
            if rest:
                found[step] = LEAF if rest.keys() == {SELF} else rest
        elif cut:
            found[step] = branch
    return found


def paths(fields: Fields, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every member, as its steps."""
    for step, branch in fields.items():
        if step == SELF:
            continue
        here = (*at, step)
        if is_member(branch):
            yield here
        yield from paths(branch, here)


def text(path: tuple[str, ...]) -> str:
    """As messages name it: `.spec.containers[name="a"].image`."""
    return "".join(_step_text(step) for step in path)


def _step_text(step: str) -> str:
    kind, _, rest = step.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        keys = json.loads(rest)
        return "[" + ",".join(f"{name}={json.dumps(keys[name])}" for name in sorted(keys)) + "]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


# --- steps ------------------------------------------------------------------------------------------------------------


def value_step(value: Any) -> str:
    return "v:" + _encode(value).decode()


def key_step(item: Any, keys: tuple[str, ...], defaults: Mapping[str, Any]) -> str:
    """The step of an item of a keyed list."""
    if not isinstance(item, dict):
        return value_step(item)
    if len(keys) == 1:
        name = keys[0]
        value = item.get(name)
        if type(value) is str and value.isascii() and value.isprintable() and '"' not in value and "\\" not in value:
            return f'k:{{"{name}":"{value}"}}'
        if type(value) is int:
            return f'k:{{"{name}":{value}}}'
    return "k:" + _encode({name: item.get(name, defaults.get(name)) for name in keys}).decode()


def is_set(value: Any) -> bool:
    """Whether what a client sent as FieldsV1 is a set at all."""
    return isinstance(value, dict) and all(_is_step(step) and is_set(branch) for step, branch in value.items())


def _is_step(step: str) -> bool:
    kind, _, rest = step.partition(":")
    if step == SELF or kind == "f":
        return step != "f:"
    try:
        said = json.loads(rest)
    except (ValueError, RecursionError):
        return False
    return kind == "v" or (kind == "k" and isinstance(said, dict)) or (kind == "i" and isinstance(said, int))
