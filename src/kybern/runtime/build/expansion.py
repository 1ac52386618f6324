"""Variables and words of a Dockerfile: `$NAME`, `${NAME:-word}`, quotes and escapes, as in Docker's reference.

Single quotes keep everything, double quotes keep spaces, the escape character keeps the next one.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping

from kybern.runtime.build.dockerfile import DockerfileError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")
_OPERATOR = re.compile(r":?[-+?]|##|#|%%|%|//|/")
DEPTH_MAX = 20


def expand(text: str, values: Mapping[str, str], escape: str = "\\") -> str:
    """One word: quotes removed, variables replaced. An unset variable is empty."""
    word, _ = _Reader(text, values, escape).read(stop="")
    return word


def split(text: str, escape: str = "\\") -> list[str]:
    """At blanks that are neither quoted nor escaped; quotes stay, for `expand`."""
    words, word, quote, at = [], "", "", 0
    while at < len(text):
        letter = text[at]
        if letter == escape and quote != "'" and at + 1 < len(text):
            word += text[at : at + 2]
            at += 2
            continue
        if letter in "'\"" and quote in ("", letter):
            quote = "" if quote else letter
        if letter.isspace() and not quote:
            if word:
                words.append(word)
            word = ""
        else:
            word += letter
        at += 1
    if quote:
        raise DockerfileError(f"unexpected end of statement while looking for matching {quote}")
    return [*words, word] if word else words


def pairs(text: str, escape: str = "\\") -> list[tuple[str, str]]:
    """`name=value ...`, or the old form `name the whole rest`, as ENV and LABEL take them. Not expanded."""
    words = split(text, escape)
    if "=" not in words[0]:
        name, _, rest = text.partition(" ")
        if not rest.strip():
            raise DockerfileError(f"{text.strip()!r} must have two arguments")
        return [(name, rest.strip())]
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise DockerfileError(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        found.append((name, value))
    return found


class _Reader:
    def __init__(self, text: str, values: Mapping[str, str], escape: str, depth: int = 0) -> None:
        if depth > DEPTH_MAX:
            raise DockerfileError("variables are nested too deep")
        self.text, self.values, self.escape, self.depth = text, values, escape, depth
        self.at = 0

    def read(self, stop: str) -> tuple[str, bool]:
        """Up to the unquoted `stop`; whether it was there."""
        found = ""
        while self.at < len(self.text):
            letter = self.text[self.at]
            if stop and letter == stop:
                self.at += 1
                return found, True
            step: Callable[[], str] = {"'": self._single, '"': self._double, "$": self._variable}.get(
                letter, self._plain
            )
            found += step()
        return found, False

    def _plain(self) -> str:
        letter = self.text[self.at]
        self.at += 1
        if letter == self.escape and self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
        return letter

    def _single(self) -> str:
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise DockerfileError("unexpected end of statement while looking for matching single-quote")
        found, self.at = self.text[self.at + 1 : end], end + 1
        return found

    def _double(self) -> str:
        self.at += 1
        found = ""
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == '"':
                self.at += 1
                return found
            if letter == "$":
                found += self._variable()
                continue
            after = self.text[self.at + 1 : self.at + 2]
            if letter == self.escape and after in ('"', "$", self.escape):
                letter = after
                self.at += 1
            found += letter
            self.at += 1
        raise DockerfileError("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        self.at += 1
        if self.text[self.at : self.at + 1] == "{":
            self.at += 1
            return self._braced()
        name = _NAME.match(self.text, self.at)
        if name is None:
            return "$"
        self.at = name.end()
        return self.values.get(name[0], "")

    def _braced(self) -> str:
        name = _NAME.match(self.text, self.at)
        if name is None:
            raise DockerfileError(f"bad substitution in {self.text!r}")
        self.at = name.end()
        operator = _OPERATOR.match(self.text, self.at)
        self.at = operator.end() if operator else self.at
        inner = _Reader(self.text, self.values, self.escape, self.depth + 1)
        inner.at = self.at
        word, closed = inner.read(stop="}")
        self.at = inner.at
        if not closed or (operator is None and word):
            raise DockerfileError(f"syntax error: missing '}}' in {self.text!r}")
        return _applied(name[0], self.values.get(name[0]), operator[0] if operator else "", word)


def _applied(name: str, value: str | None, operator: str, word: str) -> str:
    there = bool(value) if operator.startswith(":") else value is not None
    match operator.removeprefix(":"):
        case "-":
            return value or "" if there else word
        case "+":
            return word if there else ""
        case "?":
            if not there:
                raise DockerfileError(f"{name}: {word or 'not allowed to be unset'}")
            return value or ""
        case "#" | "##" | "%" | "%%":
            return _trimmed(value or "", word, operator)
        case "/" | "//":
            pattern, _, replacement = word.partition("/")
            return _replaced(value or "", pattern, replacement, count=0 if operator == "//" else 1)
    return value or ""


def _trimmed(value: str, pattern: str, operator: str) -> str:
    """Without the shortest (one sign) or longest (two) beginning (`#`) or end (`%`) that fits the pattern."""
    upwards = range(len(value) + 1)
    for cut in upwards if operator in ("#", "%%") else reversed(upwards):
        gone, kept = (value[:cut], value[cut:]) if "#" in operator else (value[cut:], value[:cut])
        if fnmatch.fnmatchcase(gone, pattern):
            return kept
    return value


def _replaced(value: str, pattern: str, replacement: str, *, count: int) -> str:
    parts = (".*?" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in pattern)
    return re.sub("".join(parts), lambda _: replacement, value, count=count) if pattern else value
