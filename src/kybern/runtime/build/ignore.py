"""`.dockerignore`: which files of a context take no part in a build.

Patterns are those of Go's filepath.Match with `**` for any depth; a later one wins over an earlier one, and `!` takes
files back in. A pattern that fits a directory fits everything below it.
"""

import re
from functools import lru_cache

PATTERNS_MAX = 10_000


class Ignore:
    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
        self.patterns = [_rule(line) for line in lines if line and not line.startswith("#")][:PATTERNS_MAX]
        self.exceptions = any(kept for kept, _ in self.patterns)

    def leaves_out(self, path: str) -> bool:
        """`path` is relative to the context, without a leading slash."""
        out = False
        for kept, pattern in self.patterns:
            if out is not kept:
                continue  # it could not change anything
            if any(pattern.fullmatch(part) for part in _path_and_above(path)):
                out = not kept
        return out


def _rule(line: str) -> tuple[bool, re.Pattern[str]]:
    kept = line.startswith("!")
    return kept, compiled(line.removeprefix("!").strip().strip("/").removeprefix("./"))


def _path_and_above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """As a regular expression over a whole path."""
    found, at = "", 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*" and pattern.startswith("*", at):
            at += 1
            if pattern.startswith("/", at):
                at += 1
                found += "(?:[^/]+/)*"
            else:
                found += ".*"
        elif letter == "*":
            found += "[^/]*"
        elif letter == "?":
            found += "[^/]"
        elif letter == "[" and (end := pattern.find("]", at + 1)) > 0:
            found += (
                "["
                + ("^" if pattern[at] == "^" else "")
                + re.escape(pattern[at:end].lstrip("^")).replace(r"\-", "-")
                + "]"
            )
            at = end + 1
        elif letter == "\\" and at < len(pattern):
            found += re.escape(pattern[at])
            at += 1
        else:
            found += re.escape(letter)
    return re.compile(found, re.DOTALL)
