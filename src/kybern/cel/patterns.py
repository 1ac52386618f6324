"""Regular expressions run on RE2, whose time grows with the text and never faster; each is compiled once."""

from functools import lru_cache
from typing import Any

import re2

from kybern.cel.errors import EvaluationError

PATTERNS_KEPT = 1024
_options = re2.Options()
_options.log_errors = False


@lru_cache(maxsize=PATTERNS_KEPT)
def compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, _options)
    except re2.error as error:
        said = error.args[0]
        raise EvaluationError(f"error parsing regexp: {said.decode() if isinstance(said, bytes) else said}") from None
