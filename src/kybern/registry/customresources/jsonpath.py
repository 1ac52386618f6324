"""JSONPath, as far as definitions use it: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`,
`.metadata.annotations.example\\.com/size`, `.spec.items[*].name`, `.spec.items[0]`, `..name` excepted.

A path is read once into steps; each step leads from values to values, and what is not there leads to none. Who walks it
says how many values he goes past at most: paths are told what to look for in lists, which may be long. Lists of metadata,
which is a Struct's, are tuples. No expression here can read the same letters in two ways: who writes a path would choose
one that takes for ever.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

PATHS_REMEMBERED = 2048
PATH_LENGTH_MAX = 4096

VALUES_MAX = 10_000  # that are gone past, on the way to the first; a few milliseconds

Step = Callable[[Any, "Walk"], Iterator[Any]]

NAME = re.compile(r"\.((?:\\.|[^.\[\\*])+)")
QUOTED = re.compile(r"""\[\s*'((?:\\.|[^'\\])*)'\s*\]|\[\s*"((?:\\.|[^"\\])*)"\s*\]""")
INDEX = re.compile(r"\[\s*(-?\d+)\s*\]", re.ASCII)
SLICE = re.compile(r"\[\s*(?:(-?\d+)\s*)?:\s*(?:(-?\d+)\s*)?(?::\s*(?:(-?\d+)\s*)?)?\]", re.ASCII)
EVERY = re.compile(r"\.\*|\[\s*\*\s*\]")
FILTER = re.compile(r"""\[\?\(\s*@((?:\.(?:\\.|[^\s=!<>).\[\\])+|\[[^\]]*\])*)\s*(?:(==|!=|>=|<=|>|<)([^)]*))?\)\]""")
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, other: bool(one == other),
    "!=": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


@lru_cache(PATHS_REMEMBERED)
def parsed(path: str) -> tuple[Step, ...]:
    """ValueError for what is no such path."""
    if len(path) > PATH_LENGTH_MAX:
        raise ValueError("the path is too long")
    at, steps = 0, []
    path = "" if path == "." else path
    while at < len(path):
        step, at = read_step(path, at)
        steps.append(step)
    return tuple(steps)


def read_step(path: str, at: int) -> tuple[Step, int]:
    for pattern, make in READERS:
        match = pattern.match(path, at)
        if match is not None:
            return make(match), match.end()
    raise ValueError(f"unrecognized character in action: {path[at : at + 20]!r}")


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def named(match: re.Match[str]) -> Step:
    name = unescaped(next(group for group in match.groups() if group is not None))

    def step(value: Any, walk: Walk) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def numbered(match: re.Match[str]) -> Step:
    index = int(match[1])

    def step(value: Any, walk: Walk) -> Iterator[Any]:
        if isinstance(value, list | tuple) and -len(value) <= index < len(value):
            yield value[index]

    return step


def sliced(match: re.Match[str]) -> Step:
    start, stop, stride = (int(group) if group else None for group in match.groups())
    if stride is not None and stride <= 0:
        raise ValueError("step must be > 0")

    def step(value: Any, walk: Walk) -> Iterator[Any]:
        if isinstance(value, list | tuple):
            yield from (value[at] for at in range(*slice(start, stop, stride).indices(len(value))))

    return step


def every(match: re.Match[str]) -> Step:
    def step(value: Any, walk: Walk) -> Iterator[Any]:
        if isinstance(value, list | tuple | dict):
            yield from value.values() if isinstance(value, dict) else value

    return step


def filtered(match: re.Match[str]) -> Step:
    steps = parsed(match[1] or "")
    compare = COMPARE.get(match[2] or "")
    wanted = literal(match[3].strip()) if compare else None

    def step(value: Any, walk: Walk) -> Iterator[Any]:
        for item in value if isinstance(value, list | tuple) else ():
            if not walk.goes_on():
                return
            found = next(walk.along(steps, item), None)
            if found is not None and (compare is None or _compared(compare, found, wanted)):
                yield item

    return step


def _compared(compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool:
    try:
        return compare(one, other)
    except TypeError:
        return False


def literal(text: str) -> Any:
    if text[:1] in ("'", '"') and text[-1:] == text[:1]:
        return unescaped(text[1:-1])
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"unrecognized literal {text!r}") from None


READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (EVERY, every), (NAME, named), (QUOTED, named), (INDEX, numbered), (SLICE, sliced), (FILTER, filtered),
)  # fmt: skip


class Walk:
    __slots__ = ("left",)

    def __init__(self, values_max: int) -> None:
        self.left = values_max

    def goes_on(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def along(self, steps: tuple[Step, ...], value: Any) -> Iterator[Any]:
        if not steps:
            yield value
            return
        for found in steps[0](value, self):
            if not self.goes_on():
                return
            yield from self.along(steps[1:], found)


def first(path: str, value: Any, values_max: int = VALUES_MAX) -> Any:
    """What a path leads to first; None where that is nothing, or further away than so many values."""
    return next(Walk(values_max).along(parsed(path), value), None)
