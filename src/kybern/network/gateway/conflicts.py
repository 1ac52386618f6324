"""What cannot be there together, by the specification's rules: pure functions.

- Listeners of a Gateway that a request could not be told apart by: none of them is up.
- Of an HTTPRoute and a GRPCRoute on one listener whose hostnames meet, the older one is there; of equals the first by name.
- Gateways share the proxy's ports. A port speaks what the oldest of them says, and is not available to others that differ.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from kybern.network.gateway.attaching import SPOKEN, Attached, Refused
from kybern.network.gateway.objects import Gateway, HTTPRoute, Listener
from kybern.network.gateway.routing import names_of

OTHER_KIND = {"HTTPRoute": "GRPCRoute", "GRPCRoute": "HTTPRoute"}


def age(made: Gateway | HTTPRoute) -> tuple[str, str]:
    meta = made.metadata
    return str(meta.creation_timestamp or ""), f"{meta.namespace}/{meta.name}"


def conflicted(listeners: Sequence[Listener]) -> dict[str, str]:
    """Listener → why it cannot be told from another."""
    spoken = [listener for listener in listeners if listener.protocol in SPOKEN]
    protocols = Counter(port for port, _ in {(listener.port, listener.protocol) for listener in spoken})
    places = Counter((listener.port, listener.hostname) for listener in spoken)
    found = {}
    for listener in spoken:
        if protocols[listener.port] > 1:
            found[listener.name] = "ProtocolConflict"
        elif places[listener.port, listener.hostname] > 1:
            found[listener.name] = "HostnameConflict"
    return found


def protocols_of(gateways: Iterable[Gateway]) -> dict[int, str]:
    """What each port speaks."""
    found: dict[int, str] = {}
    for gateway in sorted(gateways, key=age):
        unclear = conflicted(gateway.spec.listeners)
        for listener in gateway.spec.listeners:
            if listener.protocol in SPOKEN and listener.name not in unclear:
                found.setdefault(listener.port, listener.protocol)
    return found


class Hostnames:
    """Those that routes of one kind have on a listener, "" for all."""

    def __init__(self) -> None:
        self.routes: dict[str, str] = {}
        self.above: dict[str, str] = {}
        """Names that cover one of them → its route."""

    def add(self, hostname: str, route: str) -> None:
        self.routes.setdefault(hostname, route)
        for name in wider(hostname):
            self.above.setdefault(name, route)

    def meeting(self, hostname: str) -> str | None:
        """The route that has hosts in common with this name."""
        covering = (self.routes[name] for name in (hostname, *wider(hostname)) if name in self.routes)
        return next(covering, None) or self.above.get(hostname)


def wider(hostname: str) -> list[str]:
    return [name for name in names_of(hostname) if name != hostname]


class Admission:
    """Routes come in the order of their age."""

    def __init__(self) -> None:
        self.taken: defaultdict[tuple[int, str, str], Hostnames] = defaultdict(Hostnames)
        """Gateway, listener, kind of route → their hostnames."""

    def admit(self, places: Sequence[Attached]) -> list[Attached] | Refused:
        """Those of a route's places where it is not in another's way."""
        found, refused = [], None
        for place in places:
            kind, hostnames = place.route.kind, place.hostnames or ("",)
            others = self.taken[id(place.gateway), place.listener.name, OTHER_KIND[kind]]
            if other := next(filter(None, map(others.meeting, hostnames)), None):
                text = f"{OTHER_KIND[kind]} {other} has hosts of this route on listener {place.listener.name}"
                refused = Refused("Conflicted", text)
                continue
            found.append(place)
            for hostname in hostnames:
                self.taken[id(place.gateway), place.listener.name, kind].add(hostname, age(place.route)[1])
        return found if refused is None else found or refused
