"""Answers of proxied servers, made to work below the proxy's path: `Location`, and the links of HTML pages.

A path that is absolute on the same host gets the proxy's path before it. Relative links work as they are, links to other
hosts are left alone. A page is rewritten while it streams: only a tag that is not complete yet waits for its rest.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kybern.web.http import Body, Response

TAG_BYTES_MAX = 64 * 1024  # a longer one is passed on as it is
TAG = re.compile(rb"<([A-Za-z][A-Za-z0-9]*)([^<>]*)>")
ATTRIBUTE = re.compile(rb"""([A-Za-z-]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")
LINKS: Mapping[bytes, frozenset[bytes]] = {
    tag: frozenset(attributes.split())
    for tag, attributes in {
        b"a": b"href", b"applet": b"codebase", b"area": b"href", b"audio": b"src", b"base": b"href",
        b"blockquote": b"cite", b"body": b"background", b"button": b"formaction", b"command": b"icon", b"del": b"cite",
        b"embed": b"src", b"form": b"action", b"frame": b"longdesc src", b"head": b"profile", b"html": b"manifest",
        b"iframe": b"longdesc src", b"img": b"longdesc src usemap", b"input": b"src usemap formaction",
        b"ins": b"cite", b"link": b"href", b"object": b"classid codebase data usemap", b"q": b"cite",
        b"script": b"src", b"source": b"src", b"track": b"src", b"video": b"poster src",
    }.items()
}  # fmt: skip
"""Where links are, by tag: upstream's table."""


@dataclass(frozen=True, slots=True)
class Rewriting:
    prefix: str
    """The proxy's path, without a slash at its end."""
    hosts: frozenset[str]
    """What this server, and the one behind it, are called in links."""

    def link(self, text: str) -> str:
        try:
            parts = urlsplit(text)
        except ValueError:
            return text
        if (parts.netloc and parts.netloc not in self.hosts) or not parts.path.startswith("/"):
            return text
        if (parts.path + "/").startswith(self.prefix + "/"):
            return text
        return urlunsplit(("", "", f"{self.prefix}/{parts.path.lstrip('/')}", parts.query, parts.fragment))

    def html(self, page: bytes) -> bytes:
        return TAG.sub(self._tag, page)

    def _tag(self, tag: re.Match[bytes]) -> bytes:
        attributes = LINKS.get(tag[1].lower())
        if attributes is None:
            return tag[0]
        return b"<%b%b>" % (tag[1], ATTRIBUTE.sub(lambda found: self._attribute(found, attributes), tag[2]))

    def _attribute(self, found: re.Match[bytes], links: frozenset[bytes]) -> bytes:
        if found[1].lower() not in links:
            return found[0]
        value = found[3]
        quote = value[:1] if value[:1] in b"\"'" else b""
        text = value[len(quote) : len(value) - len(quote)].decode("utf-8", "surrogateescape")
        return b"%b%b%b%b%b" % (found[1], found[2], quote, self.link(text).encode("utf-8", "surrogateescape"), quote)

    async def streamed(self, body: Any) -> AsyncIterator[bytes]:
        waiting = b""
        async for piece in body:
            waiting += piece
            begun = waiting.rfind(b"<")
            whole = begun if begun >= 0 and b">" not in waiting[begun:] else len(waiting)
            if len(waiting) - whole > TAG_BYTES_MAX:
                whole = len(waiting)
            yield self.html(waiting[:whole])
            waiting = waiting[whole:]
        yield self.html(waiting)


def rewritten(response: Response, rewriting: Rewriting) -> Response:
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
    for name in headers:
        if name.lower() == "location":
            headers[name] = rewriting.link(headers[name])
    lower = {name.lower(): value for name, value in headers.items()}
    body: Body = response.body
    if lower.get("content-type", "").partition(";")[0].strip() == "text/html" and "content-encoding" not in lower:
        if isinstance(body, AsyncIterator):
            body = rewriting.streamed(body)
        else:
            body = rewriting.html(body if isinstance(body, bytes) else b"".join(body))
    return Response(response.status, headers, body)
