"""The regular expressions of schemas: not too large, and asked of a text only where that takes a bounded time."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

from kybern.api import patterns

PATTERNS_REMEMBERED = 1024
PROGRAM_MAX = 12_000  # instructions: as many as a thousand characters of any kind need
STEPS_MAX = 300_000_000  # instructions times characters: a third of a second where the expression is of the worst sort


@lru_cache(PATTERNS_REMEMBERED)
def pattern(source: str) -> Any:
    """The compiled expression. ValueError, in Go's words, where it is none."""
    found = patterns.compiled(source)
    if found.programsize > PROGRAM_MAX:
        raise ValueError(f"error parsing regexp: expression too large: `{source[: patterns.SHOWN_MAX]}`")
    return found


def found_by(source: str) -> Callable[[str], bool]:
    """Whether the expression is anywhere in a text.

    A set of one expression answers without making a match object, in a seventh of the time; its no is not the last word,
    for it gives up where it would need too much memory. A text that would take too many steps does not match.
    """
    exact = pattern(source)
    quick = re2.Set.SearchSet(patterns.OPTIONS)
    quick.Add(source)
    quick.Compile()
    length_max = STEPS_MAX // exact.programsize
    return lambda text: len(text) <= length_max and (bool(quick.Match(text)) or exact.search(text) is not None)
