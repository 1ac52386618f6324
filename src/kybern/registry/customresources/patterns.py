"""The regular expressions of schemas: asked of a text only where that takes a bounded time."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

from kybern.api import patterns

PATTERNS_REMEMBERED = 256  # each takes up to two megabytes, as RE2 is told
PROGRAM_QUICK_MAX = 1_000
STEPS_MAX = 40_000_000  # instructions times characters: a third of a second where the expression is of the worst sort
INSTRUCTIONS_PER_STEP = 6  # of the effort that judging an object takes


@lru_cache(PATTERNS_REMEMBERED)
def pattern(source: str) -> Any:
    """The compiled expression. ValueError, in Go's words, where it is none."""
    return patterns.compiled(source)


def found_by(source: str) -> Callable[[str], bool]:
    """Whether the expression is anywhere in a text. A text that would take too many steps does not match."""
    exact = pattern(source)
    length_max = STEPS_MAX // exact.programsize
    if exact.programsize > PROGRAM_QUICK_MAX:
        return lambda text: len(text) <= length_max and exact.search(text) is not None
    quick = quick_look(source)
    return lambda text: len(text) <= length_max and (quick(text) or exact.search(text) is not None)


def quick_look(source: str) -> Callable[[str], bool]:
    """A set of one expression answers without making a match object, in a seventh of the time. Its no is not the last word,
    for it gives up where it would need too much memory, and it takes twice as long until then."""
    found = re2.Set.SearchSet(patterns.OPTIONS)
    found.Add(source)
    found.Compile()
    return lambda text: bool(found.Match(text))
