"""An expression's text as tokens: names, numbers, strings, operators, each with its place."""

import re
from typing import Any, NamedTuple

from kybern.cel.errors import Problem
from kybern.cel.values import INT_MAX, INT_MIN, UINT_MAX, UInt

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)
TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<number>0x[0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
        |[0-9]+[uU]?)
    |(?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"|'''|"|'))
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<quoted>`[A-Za-z0-9_.\-/ ]+`)
    |(?P<operator>&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "?": 63, '"': 34, "'": 39, "`": 96}
CODED = {"x": (2, 16), "X": (2, 16), "u": (4, 16), "U": (8, 16)}


class Token(NamedTuple):
    kind: str
    """name, literal, an operator itself, or `<EOF>`."""
    text: str
    at: int
    value: Any = None


class Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def tokens(source: str) -> list[Token]:
    found, at = [], 0
    while at < len(source):
        match = TOKEN.match(source, at)
        if match is None:
            raise Unreadable(Problem(f"Syntax error: token recognition error at: '{source[at]}'", at))
        text, kind = match.group(), match.lastgroup
        end = match.end()
        match kind:
            case "number":
                found.append(Token("literal", text, at, number(text, at)))
            case "string":
                value, end = string(source, text, at, end)
                found.append(Token("literal", source[at:end], at, value))
            case "name":
                found.append(name(text, at))
            case "quoted":
                found.append(Token("quoted", text[1:-1], at))
            case "operator":
                found.append(Token(text, text, at))
        at = end
    return [*found, Token("<EOF>", "<EOF>", len(source))]


def name(text: str, at: int) -> Token:
    match text:
        case "true" | "false":
            return Token("literal", text, at, text == "true")
        case "null":
            return Token("literal", text, at, None)
        case "in":
            return Token("in", text, at)
    return Token("name", text, at)


def number(text: str, at: int) -> Any:
    """A whole number is kept unbounded here: only with its sign it is known whether it fits."""
    digits = text.rstrip("uU") if not text.lower().startswith("0x") or text[-1] in "uU" else text
    if text.lower().startswith("0x"):
        value = int(digits[2:], 16)
    elif any(mark in digits for mark in ".eE"):
        return float(digits)
    elif len(digits) > 40:
        raise Unreadable(Problem("invalid int literal", at))
    else:
        value = int(digits)
    if text[-1] in "uU":
        if value > UINT_MAX:
            raise Unreadable(Problem("invalid uint literal", at))
        return UInt(value)
    return value


def bounded(value: Any, at: int) -> Any:
    if type(value) is int and not INT_MIN <= value <= INT_MAX:
        raise Unreadable(Problem("invalid int literal", at))
    return value


def string(source: str, opening: str, at: int, start: int) -> tuple[str | bytes, int]:
    """The value of a string literal, and where it ends."""
    quote = opening.lstrip("rRbB")
    prefix = opening[: -len(quote)].lower()
    end = start
    while not source.startswith(quote, end):
        if end >= len(source) or (len(quote) == 1 and source[end] in "\r\n"):
            raise Unreadable(Problem(f"Syntax error: token recognition error at: '{source[at : at + 20]}'", at))
        end += 2 if source[end] == "\\" and "r" not in prefix else 1
    body, after = source[start:end], end + len(quote)
    if "b" in prefix:
        return (body.encode() if "r" in prefix else unescaped(body, at, binary=True)), after
    return (body if "r" in prefix or "\\" not in body else unescaped(body, at, binary=False).decode()), after


def unescaped(body: str, at: int, *, binary: bool) -> bytes:
    out, here = bytearray(), 0
    while here < len(body):
        char = body[here]
        if char != "\\":
            out += char.encode()
            here += 1
            continue
        code, length = escape(body, here + 1, at, binary=binary)
        out += code if isinstance(code, bytes) else chr(code).encode()
        here += 1 + length
    return bytes(out)


def escape(body: str, here: int, at: int, *, binary: bool) -> tuple[int | bytes, int]:
    char = body[here : here + 1]
    if char in ESCAPES:
        return ESCAPES[char], 1
    digits, base, length = "", 8, 0
    if char in CODED and not (binary and char in "uU"):
        count, base = CODED[char]
        digits, length = body[here + 1 : here + 1 + count], count + 1
        whole = len(digits) == count
    else:
        digits, length = body[here : here + 3], 3
        whole = len(digits) == 3 and digits[0] in "0123"
    try:
        code = int(digits, base) if whole else -1
    except ValueError:
        code = -1
    if code < 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Unreadable(Problem("unable to unescape string", at))
    return (bytes([code]) if binary else code), length
