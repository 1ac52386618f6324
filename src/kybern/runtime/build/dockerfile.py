"""A Dockerfile as a list of instructions, by the rules of Docker's reference.

Lines are joined at the escape character, comments are left out, heredocs are collected, flags and the JSON form are
recognised. Nothing is expanded here: what a variable is worth is known only when the instruction's turn comes.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

KEYWORDS = frozenset((
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER", "ONBUILD",
    "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
))  # fmt: skip
WITH_FLAGS = frozenset(("ADD", "COPY", "FROM", "HEALTHCHECK", "RUN"))
WITH_HEREDOCS = frozenset(("ADD", "COPY", "RUN"))
JSON_FORM = frozenset(("ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"))

BYTES_MAX = 1 << 20
INSTRUCTIONS_MAX = 10_000
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.*?)\s*$")
_HEREDOC = re.compile(r"(?<![^\s])\d*<<(-?)\s*(['\"]?)([a-zA-Z_][\w.]*)\2(?=\s|$|[;&|>)])")
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\"[^\"]*\"|'[^']*'|\S*))?(?:\s+|$)")


class DockerfileError(Exception):
    """The Dockerfile, or what it asks for, is wrong; the message is for its author."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"dockerfile parse error on line {line}: {message}" if line else message)


@dataclass(frozen=True, slots=True)
class Heredoc:
    name: str
    content: str
    expand: bool
    """Not where its name was quoted."""


@dataclass(frozen=True, slots=True)
class Instruction:
    line: int
    keyword: str
    text: str
    """What follows the keyword and the flags."""
    flags: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] | None = None
    """The JSON form, where it is one."""
    heredocs: tuple[Heredoc, ...] = ()

    def flag(self, name: str, default: str = "") -> str:
        return next((value for known, value in self.flags if known == name), default)

    def shown(self) -> str:
        """On one line, as it is printed while it is carried out."""
        flags = "".join(f"--{name}={value} " if value else f"--{name} " for name, value in self.flags)
        return " ".join(f"{self.keyword} {flags}{self.text}".split())


@dataclass(frozen=True, slots=True)
class Dockerfile:
    instructions: tuple[Instruction, ...]
    escape: str = "\\"


def parse(text: str) -> Dockerfile:
    """DockerfileError with the line where it is wrong."""
    if len(text) > BYTES_MAX:
        raise DockerfileError(f"file is larger than {BYTES_MAX} bytes")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape = _directives(lines).get("escape", "\\")
    if escape not in ("\\", "`"):
        raise DockerfileError(f"invalid ESCAPE '{escape}'. Must be ` or \\")
    found = tuple(_instructions(lines, escape))
    if not found:
        raise DockerfileError("file with no instructions")
    if len(found) > INSTRUCTIONS_MAX:
        raise DockerfileError(f"file has more than {INSTRUCTIONS_MAX} instructions")
    return Dockerfile(found, escape)


def parse_line(text: str, line: int) -> Instruction:
    """One instruction on a line of its own, as ONBUILD keeps them."""
    return _instruction(text.strip(), line, ())


def _directives(lines: list[str]) -> dict[str, str]:
    """`# name=value` before anything else; the first line that is none ends them."""
    found: dict[str, str] = {}
    for line in lines:
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            break
        found.setdefault(directive[1].lower(), directive[2])
    return found


def _instructions(lines: list[str], escape: str) -> Iterator[Instruction]:
    continued = re.compile(rf"([^{re.escape(escape)}]|^){re.escape(escape)}[ \t]*$")
    at = 0
    while at < len(lines):
        begin, text = at + 1, ""
        goes_on = True
        while goes_on and at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#") or (text and not line.strip()):
                continue
            goes_on = continued.search(line) is not None
            text += continued.sub(r"\1", line) if goes_on else line
            if not text.strip():
                break
        if not text.strip():
            continue
        heredocs: list[Heredoc] = []
        for dash, name, quoted in _heredocs_of(text):
            content, at = _until(lines, at, name, dash, begin)
            heredocs.append(Heredoc(name, content, not quoted))
        yield _instruction(text.strip(), begin, tuple(heredocs))


def _heredocs_of(text: str) -> list[tuple[bool, str, bool]]:
    """(tabs are stripped, name, quoted) for each that the line announces."""
    keyword = text.split(None, 1)[0].upper()
    inner = text.split(None, 2)[1].upper() if keyword == "ONBUILD" and len(text.split()) > 1 else keyword
    if inner not in WITH_HEREDOCS:
        return []
    return [(bool(found[1]), found[3], bool(found[2])) for found in _HEREDOC.finditer(text)]


def _until(lines: list[str], at: int, name: str, dash: bool, begin: int) -> tuple[str, int]:
    taken: list[str] = []
    while at < len(lines):
        line = lines[at].lstrip("\t") if dash else lines[at]
        at += 1
        if line == name:
            return "".join(f"{each}\n" for each in taken), at
        taken.append(line)
    raise DockerfileError(f"unterminated heredoc {name}", begin)


def _instruction(text: str, line: int, heredocs: tuple[Heredoc, ...]) -> Instruction:
    keyword, *after = text.split(None, 1)
    keyword, rest = keyword.upper(), after[0] if after else ""
    if keyword not in KEYWORDS:
        raise DockerfileError(f"unknown instruction: {keyword}", line)
    flags: list[tuple[str, str]] = []
    while keyword in WITH_FLAGS and (found := _FLAG.match(rest)):
        flags.append((found[1], (found[2] or "").strip("\"'")))
        rest = rest[found.end() :]
    if not rest:
        raise DockerfileError(f"{keyword} requires at least one argument", line)
    words = json_words(rest) if keyword in JSON_FORM else None
    if keyword == "SHELL" and words is None:
        raise DockerfileError("SHELL requires the arguments to be in JSON form", line)
    return Instruction(line, keyword, rest, tuple(flags), words, heredocs)


def json_words(text: str) -> tuple[str, ...] | None:
    """The JSON form is a list of texts; anything else is for the shell."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list) or any(not isinstance(each, str) for each in found):
        return None
    return tuple(found)
