"""What a pattern finds in a text, once or every time."""

from collections.abc import Sequence
from typing import Any

from kybern.cel import costs
from kybern.cel.errors import CostLimitExceeded
from kybern.cel.functions import Library, member
from kybern.cel.patterns import compiled
from kybern.cel.types import INT, STRING, list_of

MATCHES_MAX = 100_000
MATCHES_FREE = 100
MATCH_COST = 10


def find(text: str, pattern: str) -> str:
    match = compiled(pattern).search(text)
    return str(match.group()) if match is not None else ""


def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        if 0 <= limit <= len(found):
            break
        if len(found) == MATCHES_MAX:
            raise CostLimitExceeded
        found.append(match.group())
    return found


def all_actual(args: Sequence[Any], result: Any) -> int:
    """A match is dearer than the characters that it was found in, which counts where there are many."""
    search = costs.PATTERN_SEARCH.actual
    assert search is not None
    return max(search(args, result), len(result) * MATCH_COST if len(result) > MATCHES_FREE else 0)


ALL = costs.Cost(all_actual, costs.PATTERN_SEARCH.estimate)
REGEX: Library = (
    member("find", (STRING, STRING), STRING, find, costs.PATTERN_SEARCH),
    member("findAll", (STRING, STRING), list_of(STRING), find_all, ALL),
    member("findAll", (STRING, STRING, INT), list_of(STRING), find_all, ALL),
)
