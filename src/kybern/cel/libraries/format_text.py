"""`'%s has %d'.format([...])`: a text with values put in, each as its clause says.

A template is read once for both who ask: the checker, who sees only the types of what is put in, and `formatted`. Numbers
with `%f` and `%e` are written as people in the United States write them, since upstream's are.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from kybern.cel import times
from kybern.cel.conversions import text_of_double
from kybern.cel.errors import CostLimitExceeded, EvaluationError
from kybern.cel.values import Work, kind_of, type_value

PIECE = re.compile(r"%(?:(%)|(?:\.([0-9]+))?(.?))", re.DOTALL)
LENGTH_MAX = 10_000_000
DIGITS_DEFAULT = 6
DIGITS_MAX = 100_000
TEXT_A_STEP = 50
WHOLE = frozenset(("int", "uint"))
SHOWN = frozenset(
    ("list", "map", "int", "uint", "double", "bool", "string", "timestamp", "bytes", "duration", "type", "null")
)
HEX_WANTED = "only integers, byte buffers, and strings can be formatted as hex"
CLAUSES: dict[str, tuple[frozenset[str], str]] = {
    "s": (SHOWN, "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, "
                 "durations, and timestamps"),
    "d": (WHOLE, "decimal clause can only be used on integers"),
    "f": (frozenset(("double", "string")), "fixed-point clause can only be used on doubles"),
    "e": (frozenset(("double", "string")), "scientific clause can only be used on doubles"),
    "b": (WHOLE | {"bool"}, "only integers and bools can be formatted as binary"),
    "o": (WHOLE, "octal clause can only be used on integers"),
    "x": (WHOLE | {"string", "bytes"}, HEX_WANTED),
    "X": (WHOLE | {"string", "bytes"}, HEX_WANTED),
}  # fmt: skip
"""Which kinds of values each may be given, and what is said of others."""
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": -float("inf")}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Clause(NamedTuple):
    letter: str
    digits: int | None
    place: int
    """Which of the values it takes."""

    def misfit(self, kind: str, name: str) -> str:
        """What is wrong with a value of that kind here; empty where nothing is."""
        kinds, wanted = CLAUSES[self.letter]
        return "" if kind in kinds else f"error during formatting: {wanted}, was given {name}"


def pieces(template: str, count: int) -> Iterator[str | Clause]:
    """EvaluationError where it cannot be read, or asks for more values than there are."""
    at = index = 0
    for match in PIECE.finditer(template):
        yield template[at : match.start()]
        at = match.end()
        if match.group(1):
            yield "%"
            continue
        if index >= count:
            raise EvaluationError(f"index {index} out of range")
        yield clause(match, index)
        index += 1
    yield template[at:]


def clause(match: re.Match[str], index: int) -> Clause:
    _, digits, letter = match.groups()
    if not letter:
        if digits is None:
            raise EvaluationError("unexpected end of string")
        why = "error while parsing precision: could not find end of precision specifier"
        raise EvaluationError(f"could not parse formatting clause: {why}")
    if letter not in CLAUSES:
        raise EvaluationError(f'could not parse formatting clause: unrecognized formatting clause "{letter}"')
    return Clause(letter, None if digits is None else int(digits[:9]), index)


def formatted(template: str, args: Any, work: Work) -> str:
    made, length = [], 0
    for piece in pieces(template, len(args)):
        text = piece if isinstance(piece, str) else written(piece, args[piece.place], work)
        work.step(len(text) // TEXT_A_STEP)
        length += len(text)
        if length > LENGTH_MAX:
            raise CostLimitExceeded
        made.append(text)
    return "".join(made)


def written(wanted: Clause, value: Any, work: Work) -> str:
    kind = kind_of(value)
    wrong = wanted.misfit(kind, type_value(value).name)
    if wrong:
        raise EvaluationError(wrong)
    match wanted.letter:
        case "s":
            return shown(value, work)
        case "d":
            return str(int(value))
        case "f" | "e":
            return number(wanted, value, kind)
        case "b" if kind == "bool":
            return "1" if value else "0"
        case "b" | "o":
            return format(int(value), wanted.letter)
    return hexadecimal(value, kind, wanted.letter)


def number(wanted: Clause, value: Any, kind: str) -> str:
    if kind == "string":
        if value not in NOT_FINITE:
            raise EvaluationError(wanted.misfit("", "string"))
        value = NOT_FINITE[value]
    if value != value:
        return "NaN"
    if abs(value) == float("inf"):
        return "∞" if value > 0 else "-∞"
    digits = DIGITS_DEFAULT if wanted.digits is None else wanted.digits
    if digits > DIGITS_MAX:
        raise CostLimitExceeded
    if wanted.letter == "f":
        return f"{value:,.{digits}f}"
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa}×10{exponent.removeprefix('+').translate(RAISED)}"


def hexadecimal(value: Any, kind: str, letter: str) -> str:
    if kind in WHOLE:
        return format(int(value), letter)
    text = str((value.encode() if kind == "string" else value).hex())
    return text.upper() if letter == "X" else text


def shown(value: Any, work: Work) -> str:
    """A value as `%s` shows it."""
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
            return f"[{', '.join(literal(each, work) for each in value)}]"
        case "map":
            pairs = sorted((literal(key, work), literal(inner, work)) for key, inner in value.items())
            return f"{{{', '.join(f'{key}:{inner}' for key, inner in pairs)}}}"
    raise EvaluationError(Clause("s", None, 0).misfit("opaque", type_value(value).name))


def literal(value: Any, work: Work) -> str:
    """What stands within a list or a map: as an expression would write it."""
    text = shown(value, work)
    match kind_of(value):
        case "string":
            return quoted(text)
        case "bytes":
            return f"b{quoted(text)}"
        case "timestamp" | "duration" as kind:
            return f'{kind}("{text}")'
        case "double":
            return f"{value:.{DIGITS_DEFAULT}f}" if abs(value) < float("inf") else f'"{text}"'
    return text


QUOTED = str.maketrans({'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
                        "\t": "\\t", "\v": "\\v"})  # fmt: skip


def quoted(text: str) -> str:
    return f'"{text.translate(QUOTED)}"'
