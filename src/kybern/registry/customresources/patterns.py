"""Regular expressions of users: RE2, which needs time in proportion to the text, whatever the pattern.

Upstream uses Go's, which has the same syntax; what is wrong with a pattern is told in Go's words.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

PATTERNS_REMEMBERED = 1024
SHOWN_MAX = 1000  # characters of a pattern in an error
PROGRAM_MAX = 12_000  # instructions: as many as a thousand characters of any kind need
STEPS_MAX = 300_000_000  # instructions times characters: a third of a second where the expression is of the worst sort

_options = re2.Options()
_options.log_errors = False

GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "bad named capture group": "invalid named capture",
    "pattern too large - compile failed": "expression too large",
}


@lru_cache(PATTERNS_REMEMBERED)
def pattern(source: str) -> Any:
    """The compiled expression. ValueError, in Go's words, where it is none."""
    try:
        found = re2.compile(source, _options)
    except re2.error as error:
        said = error.args[0]
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        what, _, where = said.partition(": ")
        raise ValueError(f"error parsing regexp: {GO_WORDS.get(what, what)}: `{where[:SHOWN_MAX]}`") from None
    if found.programsize > PROGRAM_MAX:
        raise ValueError(f"error parsing regexp: expression too large: `{source[:SHOWN_MAX]}`")
    return found


def found_by(source: str) -> Callable[[str], bool]:
    """Whether the expression is anywhere in a text.

    A set of one expression answers without making a match object, in a seventh of the time; its no is not the last word,
    for it gives up where it would need too much memory. A text that would take too many steps does not match.
    """
    exact = pattern(source)
    quick = re2.Set.SearchSet(_options)
    quick.Add(source)
    quick.Compile()
    length_max = STEPS_MAX // exact.programsize
    return lambda text: len(text) <= length_max and (bool(quick.Match(text)) or exact.search(text) is not None)
