"""URLs: absolute ones, or absolute paths, taken apart as Go takes them."""

import re
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from kybern.cel import costs
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.types import BOOL, STRING, list_of, map_of, opaque
from kybern.cel.values import Opaque

URL_TYPE = opaque("kubernetes.URL")
SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")
UNWELCOME = re.compile(r"[\x00-\x20\x7f]|%(?![0-9a-fA-F]{2})")
PORT = re.compile(r"(?::[0-9]*)?")
PATH_SAFE = "$&+,/:;=@!'()*~-_."


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
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
        after = host.rpartition("]")[2] if host.startswith("[") else host[len(host.partition(":")[0]) :]
        broken = UNWELCOME.search(text) is not None or PORT.fullmatch(after) is None
    except ValueError:
        broken = True
    if broken or not (text.startswith("/") or (SCHEME.match(text) and parts.netloc + parts.path)):
        raise EvaluationError(
            f'URL parse error during conversion from string: parse "{text[:128]}": invalid URI for request'
        )
    return Url(parts)


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


def escaped_path(found: Url) -> str:
    return quote(unquote(found.parts.path), safe=PATH_SAFE) if "%" not in found.parts.path else found.parts.path


def query(found: Url) -> dict[str, list[str]]:
    return parse_qs(found.parts.query, keep_blank_values=True, max_num_fields=10_000)


URL: Library = (
    function("url", (STRING,), URL_TYPE, url, costs.traversal()),
    function("isURL", (STRING,), BOOL, is_url, costs.traversal()),
    member("getScheme", (URL_TYPE,), STRING, lambda found: found.parts.scheme),
    member("getHost", (URL_TYPE,), STRING, lambda found: found.host),
    member("getHostname", (URL_TYPE,), STRING, hostname),
    member("getPort", (URL_TYPE,), STRING, port),
    member("getEscapedPath", (URL_TYPE,), STRING, escaped_path),
    member("getQuery", (URL_TYPE,), map_of(STRING, list_of(STRING)), query),
)
