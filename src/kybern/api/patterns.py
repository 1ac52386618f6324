"""Regular expressions of users: RE2, which needs time in proportion to the text, whatever the pattern.

Upstream uses Go's, which has the same syntax; what is wrong with a pattern is told in Go's words.
"""

from typing import Any

import re2

SHOWN_MAX = 1000  # characters of a pattern in an error

OPTIONS = re2.Options()
OPTIONS.log_errors = False

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


def compiled(source: str) -> Any:
    """ValueError, in Go's words, where it is none."""
    try:
        return re2.compile(source, OPTIONS)
    except re2.error as error:
        said = error.args[0]
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        what, _, where = said.partition(": ")
        raise ValueError(f"error parsing regexp: {GO_WORDS.get(what, what)}: `{where[:SHOWN_MAX]}`") from None
