"""The head of a message as bytes: status line, headers, the Date that is the same for a whole second."""

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from http import HTTPStatus

REASONS = {status.value: status.phrase for status in HTTPStatus}


JOINT = ", "  # between the values of a header that came several times; a cookie's is as long


class BadHeader(ValueError):
    """A header or a target that would end its line early: sending it would let its author write the next line."""


class DateHeader:
    """`Date: ...`, formatted once a second."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.second = -1
        self.line = ""

    def at(self, seconds: float) -> str:
        second = int(seconds)
        if second != self.second:
            self.second = second
            self.line = f"Date: {formatdate(second, usegmt=True)}\r\n"
        return self.line


STATUS_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n" for status, reason in REASONS.items()}


def response_head(status: int, headers: Mapping[str, str], extra: str) -> bytes:
    """`extra` is whole lines of the server's own. BadHeader for one that would end its line early."""
    start = STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"
    given = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    check_lines(given, len(headers))
    return f"{start}{given}{extra}\r\n".encode("latin-1", "replace")


def request_head(
    method: str, target: str, headers: Mapping[str, str], extra: str, repeated: Sequence[tuple[str, str]] = ()
) -> bytes:
    given = "".join([f"{name}: {value}\r\n" for name, value in (*headers.items(), *repeated)])
    check_lines(given, len(headers) + len(repeated))
    if any(char <= " " or char == "\x7f" for char in method + target):
        raise BadHeader(f"not a request target: {target!r}")
    return f"{method} {target} HTTP/1.1\r\n{given}{extra}\r\n".encode("latin-1")


def check_lines(text: str, lines: int) -> None:
    if text.count("\n") != lines or text.count("\r") != lines:
        raise BadHeader("a header contains a line break")


def add_header(headers: dict[str, str], name: bytes, value: bytes) -> str | None:
    """A repeated header is joined with a comma (RFC 9110 section 5.2), a repeated cookie with a semicolon.

    Returns the name where the header is a repeated one.
    """
    key = name.lower().decode("latin-1")
    text = value.decode("latin-1")
    if key not in headers:
        headers[key] = text
        return None
    headers[key] = f"{headers[key]}{'; ' if key == 'cookie' else JOINT}{text}"
    return key
