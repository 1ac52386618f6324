"""`'%s has %d'.format([...])`: a text with values put in, each as its clause says."""

import re
from typing import Any

from kybern.cel import times
from kybern.cel.conversions import text_of_double
from kybern.cel.errors import CostLimitExceeded, EvaluationError
from kybern.cel.values import Work, kind_of

CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]{1,3}))?([a-zA-Z]))")
LENGTH_MAX = 10_000_000
DIGITS_DEFAULT = 6
TEXT_A_STEP = 50


def formatted(template: str, args: Any, work: Work) -> str:
    pieces, at, used, length = [], 0, 0, 0
    for match in CLAUSE.finditer(template):
        pieces.append(plain(template[at : match.start()]))
        at = match.end()
        if match.group() == "%%":
            pieces.append("%")
            continue
        if used >= len(args):
            raise EvaluationError(f"index {used} out of range")
        piece = clause(match.group(2), match.group(1), args[used], work)
        length += len(piece)
        if length > LENGTH_MAX:
            raise CostLimitExceeded
        pieces.append(piece)
        used += 1
    return "".join([*pieces, plain(template[at:])])


def plain(text: str) -> str:
    if "%" in text:
        raise EvaluationError(
            "unexpected end of string" if text.endswith("%") else f"could not parse formatting clause: {text[:32]}"
        )
    return text


def clause(letter: str, precision: str | None, value: Any, work: Work) -> str:
    digits = int(precision) if precision is not None else DIGITS_DEFAULT
    kind = kind_of(value)
    match letter:
        case "s":
            return shown(value, work)
        case "d" if kind in ("int", "uint"):
            return str(int(value))
        case "f" if kind in ("double", "int", "uint"):
            return not_finite(value) or f"{float(value):.{digits}f}"
        case "e" if kind in ("double", "int", "uint"):
            return not_finite(value) or f"{float(value):.{digits}e}"
        case "b" | "o" if kind in ("int", "uint"):
            return format(int(value), letter)
        case "b" if kind == "bool":
            return "1" if value else "0"
        case "x" | "X":
            return hexadecimal(value, kind, letter)
    if letter not in "sdfebxXo":
        raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{letter}"')
    raise EvaluationError(f"error during formatting: {WANTED[letter]}, was given {kind}")


WANTED = {
    "d": "decimal clause can only be used on integers",
    "f": "fixed-point clause can only be used on doubles",
    "e": "scientific clause can only be used on doubles",
    "b": "only integers and bools can be formatted as binary",
    "o": "octal clause can only be used on integers",
    "x": "only integers, byte buffers, and strings can be formatted as hex",
    "X": "only integers, byte buffers, and strings can be formatted as hex",
}


def not_finite(value: Any) -> str:
    number = float(value)
    if number != number:
        return "NaN"
    return "" if abs(number) != float("inf") else "Infinity" if number > 0 else "-Infinity"


def hexadecimal(value: Any, kind: str, letter: str) -> str:
    if kind in ("int", "uint"):
        return format(int(value), letter)
    if kind not in ("string", "bytes"):
        raise EvaluationError(f"error during formatting: {WANTED[letter]}, was given {kind}")
    text = str((value.encode() if kind == "string" else value).hex())
    return text.upper() if letter == "X" else text


def shown(value: Any, work: Work) -> str:
    """A value as `%s` shows it, nested ones too."""
    work.step()
    match kind_of(value):
        case "string":
            work.step(len(value) // TEXT_A_STEP)
            return str(value)
        case "bool":
            return "true" if value else "false"
        case "null":
            return "null"
        case "int" | "uint":
            return str(int(value))
        case "double":
            return text_of_double(value)
        case "bytes":
            return str(value.decode(errors="replace"))
        case "timestamp":
            return times.text_of_timestamp(value)
        case "duration":
            return times.text_of_duration(value)
        case "type":
            return str(value.name)
        case "list":
            return f"[{', '.join(shown(each, work) for each in value)}]"
        case "map":
            pairs = sorted((shown(key, work), shown(inner, work)) for key, inner in value.items())
            return f"{{{', '.join(f'{key}: {inner}' for key, inner in pairs)}}}"
    raise EvaluationError(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
    )
