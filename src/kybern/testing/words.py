"""What the words of a script mean: places, options, and tables of what is printed."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from kybern.testing.cluster import Cluster
from kybern.testing.objects import NAMESPACED, TYPES

Lines = list[str]
Command = Callable[[Cluster, Sequence[str]], Awaitable[Lines]]


def options_of(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def place(word: str) -> tuple[type[Any], str, str]:
    """`deployment/web` or `deployment/web/namespace`: type, name, namespace."""
    kind, name, *namespace = word.split("/")
    return TYPES[kind], name, (namespace or ["default"])[0] if kind in NAMESPACED else ""


def table(rows: Iterable[Sequence[Any]]) -> Lines:
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ["none"]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
