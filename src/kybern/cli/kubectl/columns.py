"""Tables as text: columns as wide as their widest cell, three blanks between them, none at the end of a line."""

from collections.abc import Sequence
from typing import Any

GAP = 3


def lines_of(header: Sequence[str], rows: Sequence[Sequence[str]], widths: list[int] | None = None) -> list[str]:
    """`widths` are those of a table that goes on, so that its later rows stand below the earlier ones; it is updated."""
    table = [list(header), *map(list, rows)] if header else list(map(list, rows))
    measured = widths if widths is not None else []
    measured += [0] * (max(map(len, table), default=0) - len(measured))
    for row in table:
        for index, cell in enumerate(row):
            measured[index] = max(measured[index], len(cell))
    return ["".join(cell.ljust(measured[i] + GAP) for i, cell in enumerate(row)).rstrip() for row in table]


def shown_columns(table: Any, *, wide: bool) -> list[int]:
    """Which of a server's columns are printed: those of priority 0, or all of them."""
    return [i for i, column in enumerate(table["columnDefinitions"]) if wide or not column.get("priority")]


def header_of(table: Any, shown: Sequence[int]) -> list[str]:
    return [table["columnDefinitions"][index]["name"].upper() for index in shown]


def cells_of(row: Any, shown: Sequence[int]) -> list[str]:
    return [text_of(row["cells"][index]) for index in shown]


def text_of(cell: Any) -> str:
    if cell is None:
        return "<none>"
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(cell).replace("\n", " ")
