"""The regular expressions of expressions: each is compiled once."""

from functools import lru_cache
from typing import Any

from kybern.api import patterns
from kybern.cel.errors import EvaluationError

PATTERNS_KEPT = 1024


@lru_cache(maxsize=PATTERNS_KEPT)
def compiled(pattern: str) -> Any:
    try:
        return patterns.compiled(pattern)
    except ValueError as error:
        raise EvaluationError(str(error)) from None
