"""Regular expressions of users: RE2, which needs time in proportion to the text, whatever the pattern.

Upstream uses Go's, which has the same syntax; what is wrong with a pattern is told in Go's words.

To make one sense of a pattern takes longer than to seek it, and everybody waits meanwhile: RE2 keeps Python's lock.
So how long it will take is estimated from the text, and what is too much is refused as what is too large.
"""

import math
import re
from typing import Any

import re2

SHOWN_MAX = 1000  # characters of a pattern in an error

OPTIONS = re2.Options()
OPTIONS.log_errors = False
OPTIONS.max_mem = 2 << 20  # some 130,000 instructions, which take a few milliseconds
OPTIONS.never_capture = True  # who follows five hundred groups needs seconds for a text

CHAIN_MAX = 25_000  # microseconds
EXPANSION_MAX = 40_000  # microseconds until there are too many instructions
REPEATS_MAX = 1000  # RE2 takes no more of them, one in the other
REPEATED = re.compile(r"(\)?)\{(\d{1,4})(,?)(\d{0,4})\}")

GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "bad named capture group": "invalid named capture",
}
TOO_LARGE = "pattern too large - compile failed"


def effort(source: str) -> int:
    """How many microseconds RE2 takes for a pattern at most, or about."""
    classes, (within, times) = classes_in(source), repeats_in(source)
    expanded = times * ((len(source) + within) // 3 + (400 * max(within, 1) if classes else 0))
    return 50 + one_piece(source) + min(expanded, EXPANSION_MAX)


def one_piece(source: str) -> int:
    """Of these what nothing else bounds. What may be left out (`a?a?a?`, `a{0,3}`) becomes one chain, and the time grows with
    the square of its length, for each time that a group around it comes. A class of Unicode has hundreds of ranges."""
    ranges = [(int(least), int(most)) for _, least, _, most in REPEATED.findall(source) if most]
    single, times = single_in(source), repeats_in(source)[1]
    chains = [(most - least, min(times, max(REPEATS_MAX // most, 1))) for least, most in ranges if most > least]
    optional = single + sum(length for length, _ in chains)
    copies = single * times + sum(length * around for length, around in chains)
    return min(optional * copies // 800, optional * 80) + 120 * classes_in(source)


def single_in(source: str) -> int:
    """How much may be left out: a question mark that does not begin what a group is for."""
    return source.count("?") - source.count("(?") + source.count("\\(?")


def classes_in(source: str) -> int:
    return source.count("\\p") + source.count("\\P")


def repeats_in(source: str) -> tuple[int, int]:
    """How often things come within groups, and the groups: many stand side by side, few one in the other."""
    found = [(bool(group), int(most or least)) for group, least, _, most in REPEATED.findall(source)]
    groups = sorted(times for is_group, times in found if is_group and times)
    return sum(times for is_group, times in found if not is_group), min(math.prod(groups[-2:]), REPEATS_MAX)


def too_large(source: str) -> ValueError:
    return ValueError(f"error parsing regexp: expression too large: `{source[:SHOWN_MAX]}`")


def compiled(source: str) -> Any:
    """ValueError, in Go's words, where it is none."""
    if one_piece(source) > CHAIN_MAX:
        raise too_large(source)
    try:
        return re2.compile(source, OPTIONS)
    except re2.error as error:
        said = error.args[0]
        said = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        what, _, where = said.partition(": ")
        if what == TOO_LARGE:
            raise too_large(source) from None
        raise ValueError(f"error parsing regexp: {GO_WORDS.get(what, what)}: `{where[:SHOWN_MAX]}`") from None
