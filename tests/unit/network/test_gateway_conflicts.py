"""Gateway API: listeners and routes that cannot be there together, and which of them is."""

import pytest
from gateways import at, calls, gateway, led, listener, made, route, said, to

from kybern.network.gateway.conflicts import Hostnames
from kybern.network.gateway.programme import Programme

EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
SECURE = {"tls": {"certificateRefs": [{"name": "cert"}]}}


def accepted(found: Programme) -> dict[str, tuple[str, str]]:
    return {r.metadata.name or "": said(status.parents[0].conditions, "Accepted") for r, status in found.routes}


@pytest.mark.parametrize(
    ("reason", "listeners"),
    [
        ("HostnameConflict", [listener("a"), listener("b")]),
        ("HostnameConflict", [listener("a", hostname="x.io"), listener("b", hostname="x.io")]),
        ("ProtocolConflict", [listener("a"), listener("b", 80, "HTTPS", hostname="x.io", **SECURE)]),
    ],
)
def test_of_listeners_that_cannot_be_told_apart_none_is_up_and_the_others_are(
    reason: str, listeners: list[dict[str, object]]
) -> None:
    found = made([], gateway(*listeners, listener("c", 81), listener("d", 81, hostname="x.io")))
    [(_, status)] = found.gateways
    of = {each.name: each.conditions for each in status.listeners}
    for name in ("a", "b"):
        assert said(of[name], "Conflicted") == ("True", reason)
        assert said(of[name], "Accepted") == said(of[name], "Programmed") == ("False", reason)
    for name in ("c", "d"):
        assert said(of[name], "Conflicted") == ("False", "NoConflicts")
    assert said(status.conditions, "Accepted") == ("True", "ListenersNotValid")
    [text] = [c.message for c in status.conditions if c.type == "Accepted"]
    assert text == "not valid: a, b; accepted: c, d"
    assert set(found.ports) == {81}


def test_a_listener_of_a_protocol_that_is_not_spoken_conflicts_with_nothing() -> None:
    found = made([], gateway(listener("a"), listener("b", 80, "TCP")))
    [(_, status)] = found.gateways
    assert said(status.listeners[0].conditions, "Accepted") == ("True", "Accepted")
    assert said(status.listeners[1].conditions, "Accepted") == ("False", "UnsupportedProtocol")


def test_a_port_speaks_what_the_oldest_gateway_says() -> None:
    new = gateway(listener("b", 80, "HTTPS", **SECURE), listener("c", 81), name="new", created=LATE)
    found = made([route(), route(name="s", parent={"name": "new"})], new, gateway())
    of = {g.metadata.name: {each.name: each.conditions for each in status.listeners} for g, status in found.gateways}
    assert said(of["g"]["http"], "Accepted") == ("True", "Accepted")
    assert said(of["new"]["b"], "Accepted") == ("False", "PortUnavailable")
    assert said(of["new"]["c"], "Accepted") == ("True", "Accepted")
    assert found.secure == frozenset() and led(found, "x.io", "/") == "a"


def test_a_request_is_led_by_the_routes_of_one_listener_only() -> None:
    """The one whose hostname is the most exact, whether it has a route for the request or not."""
    names = {"all": None, "wild": "*.io", "narrow": "*.x.io", "exact": "a.x.io", "empty": "e.x.io"}
    listeners = [listener(name) | ({"hostname": host} if host else {}) for name, host in names.items()]
    services = {"all": "a", "wild": "b", "narrow": "c", "exact": "d"}
    routes = [
        route(to(service, matches=[at(f"/{name}")]), name=name, parent={"sectionName": name})
        for name, service in services.items()
    ]
    found = made(routes, gateway(*listeners))
    hosts = {
        "x.de": "all",
        "b.io": "wild",
        "b.x.io": "narrow",
        "c.b.x.io": "narrow",
        "a.x.io": "exact",
        "e.x.io": "empty",
    }
    for host, name in hosts.items():
        for path in services:
            assert led(found, host, f"/{path}") == (services[path] if path == name else None), (host, path)


@pytest.mark.parametrize(
    ("web", "grpc", "meet"),
    [
        ((), (), True),
        ((), ("x.io",), True),
        (("x.io",), ("x.io", "y.io"), True),
        (("*.io",), ("a.x.io",), True),
        (("a.x.io",), ("*.io",), True),
        (("*.io",), ("*.x.io",), True),
        (("x.io",), ("y.io",), False),
        (("x.io",), ("*.x.io",), False),
        (("*.x.io",), ("*.y.io",), False),
    ],
)
@pytest.mark.parametrize("first", ["web", "calls"])
def test_of_routes_of_both_kinds_whose_hosts_meet_on_a_listener_the_older_is_accepted(
    first: str, web: tuple[str, ...], grpc: tuple[str, ...], meet: bool
) -> None:
    when = {"web": LATE, "calls": LATE, first: EARLY}
    routes = [
        route(name="web", hostnames=web, created=when["web"]),
        calls(hostnames=grpc, created=when["calls"]),
    ]
    second = "calls" if first == "web" else "web"
    for listed in (routes, routes[::-1]):
        found = accepted(made(listed))
        assert found[first] == ("True", "Accepted")
        assert found[second] == (("False", "Conflicted") if meet else ("True", "Accepted"))


def test_of_routes_as_old_as_each_other_the_first_by_name_is_accepted_and_answers() -> None:
    found = made([route(name="web"), calls(name="calls")])
    assert accepted(found) == {"calls": ("True", "Accepted"), "web": ("False", "Conflicted")}
    assert led(found, "x.io", "/") == "b"
    [text] = [c.message for r, s in found.routes for c in s.parents[0].conditions if c.reason == "Conflicted"]
    assert text == "GRPCRoute apps/calls has hosts of this route on listener http"
    assert said(found.gateways[0][1].conditions, "Programmed") == ("True", "Programmed")
    assert found.gateways[0][1].listeners[0].attached_routes == 1


def test_a_route_that_is_in_the_way_on_one_listener_is_there_on_the_others() -> None:
    both = gateway(listener("one"), listener("two", 81))
    found = made([calls(parent={"sectionName": "one"}), route(name="web", created=LATE)], both)
    assert accepted(found)["web"] == ("True", "Accepted")
    assert led(found, "x.io", "/") == "b" and found.ports[81].by_listener[""][""][0].route == "apps/web"


def test_of_calls_a_service_says_more_than_a_method_of_any() -> None:
    any_service = calls({"method": {"method": "M"}}, name="any", backend="a")
    service = calls({"method": {"service": "p.S"}}, name="service", backend="b")
    both = calls({"method": {"service": "p.S", "method": "M"}}, name="z", backend="c")
    assert led(made([any_service, service]), "x.io", "/p.S/M", "POST") == "b"
    assert led(made([any_service, service, both]), "x.io", "/p.S/M", "POST") == "c"
    assert led(made([any_service, service]), "x.io", "/p.T/M", "POST") == "a"


def test_names_are_looked_up_not_compared_one_by_one() -> None:
    """Sixteen names a route, thousands of routes: what is in the way is found in as many steps as a name has labels."""
    known = Hostnames()
    for number in range(1000):
        known.add(f"a{number}.b.c.d", f"r{number}")
    known.routes = Counted(known.routes)
    assert known.meeting("a999.b.c.d") == "r999" and known.meeting("z.b.c.d") is None
    assert known.meeting("*.b.c.d") == "r0" and known.meeting("") == "r0"
    assert known.routes.asked <= 30


class Counted(dict[str, str]):
    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)
