"""`-o jsonpath=...`: text with paths in it, `{.items[0].metadata.name}` or `{.items[*].status.phase}`.

The part of kubectl's template language that scripts live on: fields, indices, `[*]`, quoted keys and text. Values that
are not text come as JSON; several are put side by side with a blank between them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

PIECES = re.compile(r"\{([^{}]*)\}|([^{]+)")
STEPS = re.compile(r"\.((?:\\.|[\w/-])+)|\[(-?\d+|\*)\]|\['([^']*)'\]")


class BadTemplate(ValueError):
    """The message says what is not understood."""


def render(template: str, value: Any) -> str:
    return "".join(expanded(template, value))


def expanded(template: str, value: Any) -> Iterator[str]:
    at = 0
    while at < len(template):
        piece = PIECES.match(template, at)
        if piece is None:
            raise BadTemplate(f"unclosed action in {template!r}")
        at = piece.end()
        if piece[2] is not None:
            yield piece[2]
        elif piece[1][:1] == '"':
            yield json.loads(piece[1])
        else:
            yield " ".join(text_of(found) for found in follow(steps_of(piece[1].strip()), [value]))


def steps_of(path: str) -> list[str | int]:
    """`.items[0].name` as items, 0, name; `*` is every one."""
    path = path.removeprefix("$").removeprefix("@")
    path = path if path.startswith((".", "[")) else f".{path}"
    steps: list[str | int] = []
    at = 0
    while at < len(path) and path != ".":
        step = STEPS.match(path, at)
        if step is None:
            raise BadTemplate(f"unrecognized path {path[at:]!r}")
        at = step.end()
        if step[2] is not None:
            steps.append("*" if step[2] == "*" else int(step[2]))
        else:
            steps.append(step[3] if step[3] is not None else re.sub(r"\\(.)", r"\1", step[1]))
    return steps


def follow(steps: list[str | int], values: list[Any]) -> list[Any]:
    """What is there at the end of the path; what is not there is nothing, as in kubectl for objects of other kinds."""
    for step in steps:
        values = [found for value in values for found in taken(step, value)]
    return values


def taken(step: str | int, value: Any) -> list[Any]:
    if step == "*":
        return list(value.values() if isinstance(value, dict) else value) if isinstance(value, dict | list) else []
    if isinstance(step, int):
        inside = isinstance(value, list) and -len(value) <= step < len(value)
        return [value[step]] if inside else []
    return [value[step]] if isinstance(value, dict) and step in value else []


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
