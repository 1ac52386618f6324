"""Regular expressions of users: RE2, which needs time in proportion to the text, whatever the pattern.

Upstream uses Go's, which has the same syntax; what is wrong with a pattern is told in Go's words.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

PATTERNS_REMEMBERED = 1024

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


def found_by(source: str) -> Callable[[str], bool]:
    """Whether the expression is anywhere in a text. A set of one expression answers without making a match object, in a
    seventh of the time; its no is not the last word, for its memory is bounded."""
    exact = pattern(source)
    quick = re2.Set.SearchSet(_options)
    quick.Add(source)
    quick.Compile()
    return lambda text: bool(quick.Match(text)) or exact.search(text) is not None


@lru_cache(PATTERNS_REMEMBERED)
def pattern(source: str) -> Any:
    """The compiled expression. ValueError, in Go's words, where it is none."""
    try:
        return re2.compile(source, _options)
    except re2.error as error:
        said = error.args[0]
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        what, _, where = said.partition(": ")
        raise ValueError(f"error parsing regexp: {GO_WORDS.get(what, what)}: `{where}`") from None
