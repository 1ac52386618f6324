"""URLs: absolute ones, or absolute paths, taken apart as Go takes them."""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, STRING, list_of, map_of, opaque
from kybern.cel.values import Opaque, Work

URL_TYPE = opaque("kubernetes.URL")
SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}", re.DOTALL)
PORT = re.compile(r"(?::[0-9]*)?")
TEXT_A_STEP = 50
PATH_SAFE = "$&+,/:;=@!'()*~-_."
PATH = re.compile(r"(?:[A-Za-z0-9!$&'()*+,;=:@\[\]/._~-]|%[0-9a-fA-F]{2})*")


class Url(Opaque):
    __slots__ = ("parts",)
    cel_type = URL_TYPE

    def __init__(self, parts: SplitResult) -> None:
        self.parts = parts

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Url) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    @property
    def host(self) -> str:
        return self.parts.netloc.rpartition("@")[2]


def url(text: str) -> Url:
    try:
        return Url(parsed(text))
    except ValueError as error:
        shown = text[:128]
        why = f'parse "{shown}": {error}' if CONTROL.search(text) is None else f"parse {shown!r}: {error}"
        raise EvaluationError(f"URL parse error during conversion from string: {why}") from None


def parsed(text: str) -> SplitResult:
    """ValueError, in Go's words, where it is neither absolute nor an absolute path."""
    if CONTROL.search(text) is not None:
        raise ValueError("net/url: invalid control character in URL")
    if not text:
        raise ValueError("empty url")
    scheme = SCHEME.match(text)
    if scheme is None and not text.startswith("/"):
        raise ValueError("missing protocol scheme" if text.startswith(":") else "invalid URI for request")
    if scheme is not None and not text[scheme.end() :].startswith("/"):
        return SplitResult(
            scheme.group()[:-1].lower(), "", "", text.partition("?")[2], ""
        )  # what follows means nothing here
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("missing ']' in host") from None
    check_host(parts.netloc.rpartition("@")[2])
    for part in (parts.netloc, parts.path):
        if (wrong := ESCAPE.search(part)) is not None:
            raise ValueError(f'invalid URL escape "{wrong.group()}"')
    return parts


def check_host(host: str) -> None:
    if " " in host:
        raise ValueError('invalid character " " in host name')
    colon = host.rfind("]") + 1 if host.startswith("[") else host.rfind(":")
    if colon >= 0 and PORT.fullmatch(host[colon:]) is None:
        raise ValueError(f'invalid port "{host[colon:]}" after host')


def is_url(text: str) -> bool:
    try:
        url(text)
    except EvaluationError:
        return False
    return True


def hostname(found: Url) -> str:
    host = found.host
    if host.startswith("["):
        return host[1 : host.index("]")]
    return host.partition(":")[0]


def port(found: Url) -> str:
    host = found.host.rpartition("]")[2] if found.host.startswith("[") else found.host
    return host.partition(":")[2]


def escaped_path(found: Url, work: Work) -> str:
    path = found.parts.path
    work.step(len(path) // TEXT_A_STEP)
    return path if "%" in path and PATH.fullmatch(path) else quote(unquote(path), safe=PATH_SAFE)


def query(found: Url, work: Work) -> dict[str, list[str]]:
    work.step(found.parts.query.count("&"))
    work.step(len(found.parts.query) // TEXT_A_STEP)
    return parse_qs(found.parts.query, keep_blank_values=True)


URL: Library = (
    function("url", (STRING,), URL_TYPE, url, costs.traversal()),
    function("isURL", (STRING,), BOOL, is_url, costs.traversal()),
    member("getScheme", (URL_TYPE,), STRING, lambda found: found.parts.scheme),
    member("getHost", (URL_TYPE,), STRING, lambda found: found.host),
    member("getHostname", (URL_TYPE,), STRING, hostname),
    member("getPort", (URL_TYPE,), STRING, port),
    member("getEscapedPath", (URL_TYPE,), STRING, escaped_path, works=True),
    member("getQuery", (URL_TYPE,), map_of(STRING, list_of(STRING)), query, works=True),
)
