"""Texts: parts, cases, splitting, joining. What a call makes is bounded before it is made."""

from collections.abc import Sequence
from math import ceil
from typing import Any

from kybern.cel import costs
from kybern.cel.errors import CostLimitExceeded, EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.libraries.format_text import formatted, quoted
from kybern.cel.types import DYN, INT, STRING, list_of
from kybern.cel.values import kind_of

RESULT_LENGTH_MAX = 10_000_000
"""Whose traversal alone would cost a whole call."""
LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise EvaluationError(f"index out of range: {index}")
    return text[index : index + 1]


def index_of(text: str, part: str, start: int = 0) -> int:
    if start < 0 or (start >= len(text) and part and start != 0):
        raise EvaluationError(f"index out of range: {start}")
    return start if not part else text.find(part, start)


def last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    return start if not part else text.rfind(part, 0, start + len(part))


def substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= len(text):
        raise EvaluationError(f"index out of range: {start}")
    if not 0 <= last <= len(text):
        raise EvaluationError(f"index out of range: {last}")
    if start > last:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {last}")
    return text[start:last]


def replaced(text: str, old: str, new: str, limit: int = -1) -> str:
    count = text.count(old)
    count = count if limit < 0 else min(limit, count)
    if len(text) + count * len(new) > RESULT_LENGTH_MAX:
        raise CostLimitExceeded
    return text.replace(old, new, limit)


def split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if limit == 1:
        return [text]
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def join(parts: Any, separator: str = "") -> str:
    if any(kind_of(part) != "string" for part in parts):
        raise EvaluationError("no such overload")
    if sum(map(len, parts)) + len(separator) * len(parts) > RESULT_LENGTH_MAX:
        raise CostLimitExceeded
    return separator.join(parts)


def join_estimate(sizes: Sequence[costs.Span], items: Sequence[costs.Span]) -> tuple[costs.Span, costs.Span]:
    parts = sizes[0]
    size = parts.times(items[0])
    if len(sizes) > 1:
        size = size.plus(sizes[1].times(costs.Span(max(parts.least - 1, 0), max(parts.most - 1, 0))))
    return size.scaled(costs.TRAVERSAL), size


JOINED = costs.Cost(
    lambda args, result: ceil(len(result) * 2 * costs.TRAVERSAL),
    lambda sizes: (costs.UNKNOWN, None),
    by_items=join_estimate,
)
PLACE = costs.Cost(
    lambda args, result: int(len(args[0].encode(errors="replace")) * costs.TRAVERSAL),
    lambda sizes: (sizes[0].scaled(costs.TRAVERSAL), None),
)
STRINGS: Library = (
    member("charAt", (STRING, INT), STRING, char_at),
    member("indexOf", (STRING, STRING), INT, index_of, PLACE),
    member("indexOf", (STRING, STRING, INT), INT, index_of, PLACE),
    member("lastIndexOf", (STRING, STRING), INT, last_index_of, PLACE),
    member("lastIndexOf", (STRING, STRING, INT), INT, last_index_of, PLACE),
    member("lowerAscii", (STRING,), STRING, lambda text: text.translate(LOWER), costs.SAME),
    member("upperAscii", (STRING,), STRING, lambda text: text.translate(UPPER), costs.SAME),
    member("trim", (STRING,), STRING, lambda text: text.strip(SPACE), costs.SAME),
    member("substring", (STRING, INT), STRING, substring, costs.SAME),
    member("substring", (STRING, INT, INT), STRING, substring, costs.SAME),
    member("replace", (STRING, STRING, STRING), STRING, replaced, costs.REPLACED),
    member("replace", (STRING, STRING, STRING, INT), STRING, replaced, costs.REPLACED),
    member("split", (STRING, STRING), list_of(STRING), split, costs.SPLIT),
    member("split", (STRING, STRING, INT), list_of(STRING), split, costs.SPLIT),
    member("join", (list_of(STRING),), STRING, join, JOINED),
    member("join", (list_of(STRING), STRING), STRING, join, JOINED),
    member("format", (STRING, list_of(DYN)), STRING, formatted, costs.FORMATTED, works=True),
    function("strings.quote", (STRING,), STRING, quoted, costs.SAME),
)
