"""Percent-encoded text, read as `urllib.parse` reads it, but with no more work for a percent sign that begins no byte.

There each of those costs as much as an error does, and the target of a request may consist of them.
"""

import re
from collections.abc import Iterator

ESCAPED = re.compile(rb"%[0-9A-Fa-f]{2}")
BYTES = {b"%%%02x" % byte: bytes((byte,)) for byte in range(256)}


def unquoted(text: str) -> str:
    """What makes no UTF-8 becomes U+FFFD; a percent sign that begins nothing stays."""
    if "%" not in text:
        return text
    return ESCAPED.sub(lambda found: BYTES[found[0].lower()], text.encode(errors="surrogatepass")).decode(
        errors="replace"
    )


def pairs_of(query: str) -> Iterator[tuple[str, str]]:
    """The parameters, in order; one without a value has an empty one."""
    for pair in query.replace("+", " ").split("&"):
        if pair:
            name, _, value = pair.partition("=")
            yield unquoted(name), unquoted(value)
