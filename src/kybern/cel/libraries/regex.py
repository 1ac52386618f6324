"""What a pattern finds in a text, once or every time."""

from typing import Any

from kybern.cel import costs
from kybern.cel.functions import Library, member
from kybern.cel.patterns import fitting
from kybern.cel.types import INT, STRING, list_of
from kybern.cel.values import Work

MATCH_STEPS = 2
"""A match is dearer than the characters that it was found in, which counts where there are many."""


def find(text: str, pattern: str, work: Work) -> str:
    match = fitting(pattern, text, work).search(text)
    return str(match.group()) if match is not None else ""


def find_all(text: str, pattern: str, *rest: Any) -> list[str]:
    *limit, work = rest
    found: list[str] = []
    for match in fitting(pattern, text, work).finditer(text):
        if limit and 0 <= limit[0] <= len(found):
            break
        work.step(MATCH_STEPS)
        found.append(match.group())
    return found


REGEX: Library = (
    member("find", (STRING, STRING), STRING, find, costs.PATTERN_SEARCH, works=True),
    member("findAll", (STRING, STRING), list_of(STRING), find_all, costs.PATTERN_SEARCH, works=True),
    member("findAll", (STRING, STRING, INT), list_of(STRING), find_all, costs.PATTERN_SEARCH, works=True),
)
