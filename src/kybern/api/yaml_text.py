"""YAML out: `-o yaml`, as upstream's library writes it.

Keys in natural order, lists not indented below their key, text plain where that reads back as the same text, in a
literal block where it has several lines, else quoted.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from kybern.api.yaml import NotYaml, plain

INDICATORS = "#,[]{}&*!|>'\"%@`"
DIGITS = re.compile(r"(\d+)")
BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")


def dump(value: Any) -> str:
    """Dicts, lists and scalars to one document."""
    return "".join(f"{line}\n" for line in _lines(value, 0))


def _lines(value: Any, indent: int) -> Iterator[str]:
    pad = " " * indent
    if isinstance(value, dict) and value:
        for key in sorted(value, key=natural):
            yield from _entry(f"{pad}{_one_line(key)}:", value[key], indent, list_indent=indent)
    elif isinstance(value, list | tuple) and value:
        for item in value:
            yield from _item(pad, item, indent)
    else:
        first, *rest = _scalar(value, indent - 2)
        yield pad + first
        yield from rest


def _entry(head: str, value: Any, indent: int, list_indent: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from _lines(value, indent + 2)
    elif isinstance(value, list | tuple) and value:
        yield head
        yield from _lines(value, list_indent)
    else:
        first, *rest = _scalar(value, indent)
        yield f"{head} {first}"
        yield from rest


def _item(pad: str, value: Any, indent: int) -> Iterator[str]:
    """One item of a list: its first line stands behind the dash."""
    if isinstance(value, dict | list | tuple) and value:
        lines = _lines(value, indent + 2)
        yield f"{pad}- {next(lines)[indent + 2 :]}"
        yield from lines
        return
    first, *rest = _scalar(value, indent)
    yield f"{pad}- {first}"
    yield from rest


def _scalar(value: Any, indent: int) -> list[str]:
    match value:
        case None:
            return ["null"]
        case bool():
            return ["true" if value else "false"]
        case str():
            return _text(value, indent)
        case dict():
            return ["{}"]
        case list() | tuple():
            return ["[]"]
        case float() if value.is_integer() and abs(value) < 1e21:
            return [str(int(value))]
    return [str(value)]


def _text(text: str, indent: int) -> list[str]:
    if "\n" in text and _fits_a_block(text):
        return _block(text, indent)
    return [_one_line(text)]


def _one_line(text: str) -> str:
    if not text.isprintable() or _means_something_else(text):
        return _double_quoted(text)
    return text if _fits_plain(text) else "'" + text.replace("'", "''") + "'"


def _means_something_else(text: str) -> bool:
    try:
        return not isinstance(plain(text), str) or bool(BASE_60.fullmatch(text) or DATE.fullmatch(text))
    except NotYaml:
        return True


def _fits_plain(text: str) -> bool:
    if text[0] in INDICATORS or text[0] == " " or text[-1] == " " or text[-1] == ":":
        return False
    if text[0] in "-?:" and (len(text) == 1 or text[1] == " "):
        return False
    return not (": " in text or " #" in text or text in ("<<", "=") or text.startswith(("---", "...")))


def _fits_a_block(text: str) -> bool:
    return (
        text.strip("\n") != ""
        and " \n" not in text
        and all(line.isprintable() for line in text.replace("\t", " ").split("\n"))
    )


def _block(text: str, indent: int) -> list[str]:
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    pad = " " * (indent + 2)
    width = "2" if text[0] in " \n" else ""
    lines = [pad + line if line else "" for line in body.split("\n")]
    return [f"|{width}{'-' if ends == 0 else '' if ends == 1 else '+'}", *lines, *[""] * (ends - 1)]


def _double_quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(mark if mark.isprintable() else _escaped(mark) for mark in quoted)


def _escaped(mark: str) -> str:
    code = ord(mark)
    return f"\\x{code:02X}" if code < 256 else f"\\u{code:04X}" if code < 65536 else f"\\U{code:08X}"


def natural(key: str) -> list[tuple[int, int, str]]:
    """An order in which `a10` comes after `a9`."""
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in DIGITS.split(key) if part]
