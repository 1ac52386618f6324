"""The regular expressions of expressions: each is compiled once, and sought only where that cannot take too long.

A search takes at most as many steps as the text has characters for each of the pattern's instructions. Upstream counts with
the length of the pattern instead, which may have thousands: `(a{1,100}){1,10}`.
"""

from functools import lru_cache
from typing import Any

from kybern.api import patterns
from kybern.cel.errors import EvaluationError
from kybern.cel.values import Work

PATTERNS_KEPT = 1024
STEPS_FREE = 600_000
"""About a millisecond: what upstream asks for is enough."""
STEPS_A_STEP = 1000


@lru_cache(maxsize=PATTERNS_KEPT)
def compiled(pattern: str) -> Any:
    try:
        return patterns.compiled(pattern)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def fitting(pattern: str, text: str, work: Work) -> Any:
    """The compiled pattern, to be sought in this text."""
    found = compiled(pattern)
    steps = found.programsize * len(text)
    if steps > STEPS_FREE:
        work.step(steps // STEPS_A_STEP)
    return found
