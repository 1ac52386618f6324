"""A path, understood: which resource, object and part of it a URL names. The authorizer and the router read this one
value, so they cannot differ about what was asked.

    /api/v1/namespaces/{namespace}/pods/{name}/log
    /apis/apps/v1/deployments
    /apis/rbac.authorization.k8s.io/v1/clusterroles/{name}

Each segment is decoded by itself; one that hides a slash, or is empty or a dot, names nothing.
"""

from dataclasses import dataclass

from kybern.web.escapes import unquoted

PATHS_KEPT_MAX = 20_000  # understood paths are remembered; clients ask for the same ones again and again
PATH_CHARS_MAX = 1_024  # of those: it is not known yet who asks, and a path may have a hundred times as many

NAMESPACE_PARTS = ("status", "finalize")
VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Address:
    """A path below /api or /apis that names a resource."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """Behind the subresource, as it came and with its leading slash: what a proxy passes on."""
    watch: bool = False
    """Below the old `/watch/` prefix."""


class Paths:
    """`parse`, remembered."""

    def __init__(self) -> None:
        self._known: dict[str, Address | None] = {}

    def address(self, path: str) -> Address | None:
        try:
            return self._known[path]
        except KeyError:
            if len(path) > PATH_CHARS_MAX:
                return parse(path)
            if len(self._known) >= PATHS_KEPT_MAX:
                self._known.clear()
            found = self._known[path] = parse(path)
            return found


def parse(path: str) -> Address | None:
    """The address that a path names; None where it is not one of a resource."""
    segments = path.split("/")
    if segments[-1] == "":
        segments.pop()
    if len(segments) < 4 or segments[0] or segments[1] not in ("api", "apis"):
        return None
    base = 3 if segments[1] == "api" else 4
    group, version, tail = "" if base == 3 else segments[2], segments[base - 1], segments[base:]
    watch = bool(tail) and tail[0] == "watch"
    tail = tail[1:] if watch else tail
    namespace = ""
    if len(tail) > 2 and tail[0] == "namespaces" and not (len(tail) == 3 and tail[2] in NAMESPACE_PARTS):
        namespace, tail = unquoted(tail[1]), tail[2:]
        if not is_plain(namespace):
            return None
    names = [unquoted(segment) for segment in tail[:3]]
    if not names or not all(map(is_plain, names)) or not is_plain(version) or (base == 4 and not is_plain(group)):
        return None
    rest = "".join(f"/{segment}" for segment in tail[3:])
    if rest and names[2] != "proxy":
        return None
    if path.endswith("/") and names[2:] == ["proxy"]:
        rest += "/"
    names += ["", ""]
    if names[0] == "namespaces" and not namespace:
        namespace = names[1]
    return Address(group, version, names[0], namespace, names[1], names[2], rest, watch)


def is_plain(segment: str) -> bool:
    return segment not in ("", ".", "..") and "/" not in segment and "\x00" not in segment


def verb_of(method: str, address: Address, watching: bool) -> str:
    """Upstream's verb for a method: what authorization decides on."""
    verb = VERBS.get(method, method.lower())
    if verb == "get" and (address.watch or (watching and not address.subresource)):
        return "watch"
    if address.name:
        return verb
    return {"get": "list", "delete": "deletecollection"}.get(verb, verb)
