"""Warnings travel as headers: what was unknown in a body, what is deprecated, what a plugin minds (RFC 7234, 299)."""

from collections.abc import Iterable
from itertools import islice

from kybern.web.http import Response

CHARACTERS_MAX = 4096  # upstream's bound for all of them together, so that no client's header limit is met
OF_RULES_MAX = 500  # more than fit; of 20,000 ports each pair may have something odd, which is 200 million


def first(warnings: Iterable[str]) -> Iterable[str]:
    return islice(warnings, OF_RULES_MAX)


def warned(response: Response, warnings: Iterable[str]) -> Response:
    told: list[str] = []
    left = CHARACTERS_MAX
    for text in dict.fromkeys(warnings):
        left -= len(text)
        if left < 0:
            break
        told.append(f'299 - "{quoted(text)}"')
    if told:
        response.headers = {**response.headers, "Warning": ", ".join(told)}
    return response


def quoted(text: str) -> str:
    """A quoted-string that fits on one line of a header."""
    printable = "".join(mark if mark.isprintable() else " " for mark in text)
    return printable.replace("\\", "\\\\").replace('"', '\\"')
