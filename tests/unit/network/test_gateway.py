"""Gateway API: what is on which listener, what is said of it, which rule a request takes, and how it is carried."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateways import CLASS, NOW, at, backends, gateway, led, listener, made, of_route, route, said, to
from msgspec import convert
from msgspec.structs import replace

from kybern.aio.clock import SystemClock
from kybern.network.gateway.definitions import definitions, schema_of
from kybern.network.gateway.objects import (
    Gateway,
    GatewayAddress,
    HTTPRoute,
    Infrastructure,
    ParametersReference,
    ReferenceGrant,
)
from kybern.network.gateway.programme import World, programme
from kybern.network.gateway.proxy import GatewayProxy, seconds_of
from kybern.network.gateway.routing import compiled
from kybern.network.gateway.status import class_status
from kybern.network.ingress.carrying import Carrier
from kybern.web.client import Client
from kybern.web.http import Request, Response
from kybern.web.server import Server, serve
from kybern.web.tls import client_context


def test_definitions_carry_the_bounds_defaults_and_names_of_the_kinds() -> None:
    found = {crd.metadata.name: crd for crd in definitions()}
    assert set(found) == {
        f"{plural}.gateway.networking.k8s.io" for plural in ("gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants")
    }  # fmt: skip
    served = {name: [(v.name, v.storage) for v in crd.spec.versions] for name, crd in found.items()}
    assert served["httproutes.gateway.networking.k8s.io"] == [("v1", True), ("v1beta1", False)]
    assert served["referencegrants.gateway.networking.k8s.io"] == [("v1beta1", True), ("v1", False)]
    rule = schema_of(HTTPRoute)["properties"]["spec"]["properties"]["rules"]
    assert (rule["maxItems"], rule["default"]) == (16, [{}])  # and what is left out in it has defaults of its own
    match = rule["items"]["properties"]["matches"]["items"]["properties"]["path"]["properties"]
    assert match["type"]["default"] == "PathPrefix" and set(match["type"]["enum"]) == {
        "Exact",
        "PathPrefix",
        "RegularExpression",
    }
    listeners = schema_of(Gateway)["properties"]["spec"]["properties"]["listeners"]
    assert (listeners["minItems"], listeners["x-kubernetes-list-map-keys"]) == (1, ["name"])


def test_what_is_well_is_accepted_programmed_and_counted() -> None:
    found = made([route()])
    [(_, status)] = found.gateways
    assert said(status.conditions, "Accepted") == ("True", "Accepted")
    assert said(status.conditions, "Programmed") == ("True", "Programmed")
    assert [address.value for address in status.addresses] == ["10.106.0.1"]
    [only] = status.listeners
    assert only.attached_routes == 1 and said(only.conditions, "Conflicted") == ("False", "NoConflicts")
    assert of_route(found, "Accepted") == ("True", "Accepted")
    assert of_route(found, "ResolvedRefs") == ("True", "ResolvedRefs")


@pytest.mark.parametrize(
    ("made_route", "made_gateway", "type", "reason"),
    [
        (route(parent={"sectionName": "no"}), gateway(), "Accepted", "NoMatchingParent"),
        (route(parent={"port": 81}), gateway(), "Accepted", "NoMatchingParent"),
        (route(), gateway(listener(allowedRoutes={})), "Accepted", "NotAllowedByListeners"),
        (route(), gateway(listener(allowedRoutes={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}})), "Accepted", "NotAllowedByListeners"),
        (route(hostnames=("x.io",)), gateway(listener(hostname="y.io")), "Accepted", "NoMatchingListenerHostname"),
        (route(to("nobody")), gateway(), "ResolvedRefs", "BackendNotFound"),
        (route({"backendRefs": [{"name": "a", "kind": "Pod", "port": 80}]}), gateway(), "ResolvedRefs", "InvalidKind"),
        (route({"backendRefs": [{"name": "a", "namespace": "other", "port": 80}]}), gateway(), "ResolvedRefs", "RefNotPermitted"),
        (route(to("a", filters=[{"type": "ExtensionRef", "extensionRef": {"group": "x.io", "kind": "Limit", "name": "l"}}])), gateway(), "ResolvedRefs", "InvalidKind"),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_wrong_with_a_route_is_said_by_the_specifications_reason(
    made_route: HTTPRoute, made_gateway: Gateway, type: str, reason: str
) -> None:
    assert of_route(made([made_route], made_gateway), type) == ("False", reason)


def test_rules_whose_expressions_are_none_are_dropped_and_the_status_says_which() -> None:
    bad, fine = to("a", matches=[at("(", "RegularExpression")]), to("b", matches=[at("/b")])
    headers = to("a", matches=[{"headers": [{"name": "x", "type": "RegularExpression", "value": "*"}]}])
    found = made([route(fine, bad, headers)])
    [(_, status)] = found.routes
    assert of_route(found, "Accepted") == ("True", "Accepted")
    assert of_route(found, "PartiallyInvalid") == ("True", "UnsupportedValue")
    assert status.parents[0].conditions[-1].message.startswith("Dropped Rule 1 ('(' is no regular expression of RE2")
    assert "; 2 ('*' is no" in status.parents[0].conditions[-1].message
    assert led(found, "x.io", "/b") == "b" and led(found, "x.io", "/", x="*") is None
    assert all(c.type != "PartiallyInvalid" for c in made([route(fine)]).routes[0][1].parents[0].conditions)

    long = to("a", matches=[{"headers": [{"name": "x", "type": "RegularExpression", "value": "(" * 4096}]}])
    [(_, status)] = made([route(fine, *[long] * 15)]).routes
    assert len(status.parents[0].conditions[-1].message) <= 32768

    found = made([route(bad)])
    assert of_route(found, "Accepted") == ("False", "UnsupportedValue") and not list(found.ports[80].rules())
    [(_, status)] = found.routes
    assert [c.type for c in status.parents[0].conditions] == ["Accepted", "ResolvedRefs"]


@pytest.mark.parametrize(
    ("addresses", "accepted", "programmed", "assigned"),
    [
        ([], ("True", "Accepted"), ("True", "Programmed"), ["10.106.0.1", "10.106.0.2"]),
        ([{}], ("True", "Accepted"), ("True", "Programmed"), ["10.106.0.1", "10.106.0.2"]),
        ([{"value": "10.106.0.2"}], ("True", "Accepted"), ("True", "Programmed"), ["10.106.0.2"]),
        ([{"value": "10.106.0.2"}, {"value": "192.0.2.1"}], ("True", "Accepted"), ("False", "AddressNotUsable"), []),
        ([{"type": "Hostname", "value": "x.io"}], ("False", "UnsupportedAddress"), ("False", "Invalid"), []),
        ([{"type": "x.io/pool"}, {"value": "192.0.2.1"}], ("False", "UnsupportedAddress"), ("False", "Invalid"), []),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_gateway_may_ask_for_addresses_and_those_that_cannot_be_are_said(
    addresses: list[dict[str, str]], accepted: tuple[str, str], programmed: tuple[str, str], assigned: list[str]
) -> None:
    asking = gateway()
    asking = replace(asking, spec=replace(asking.spec, addresses=convert(addresses, tuple[GatewayAddress, ...])))
    found = made([route()], asking, addresses=("10.106.0.1", "10.106.0.2"))
    [(_, status)] = found.gateways
    assert said(status.conditions, "Accepted") == accepted and said(status.conditions, "Programmed") == programmed
    assert [address.value for address in status.addresses] == assigned
    assert bool(found.ports) is bool(assigned)


def test_parameters_are_not_supported_and_that_is_said() -> None:
    parameters = {"group": "x.io", "kind": "Setting", "name": "a"}
    asking = gateway()
    asking = replace(
        asking, spec=replace(asking.spec, infrastructure=convert({"parametersRef": parameters}, Infrastructure))
    )
    [(_, status)] = made([], asking).gateways
    assert said(status.conditions, "Accepted") == ("False", "InvalidParameters")
    assert said(class_status(CLASS, NOW).conditions, "Accepted") == ("True", "Accepted")
    asking_class = replace(CLASS, spec=replace(CLASS.spec, parameters_ref=convert(parameters, ParametersReference)))
    assert said(class_status(asking_class, NOW).conditions, "Accepted") == ("False", "InvalidParameters")


def test_what_is_wrong_with_a_listener_is_said_and_the_others_work() -> None:
    secure = {"tls": {"certificateRefs": [{"name": "cert"}]}}
    found = made(
        [],
        gateway(
            listener("tls", 443, "HTTPS", **secure), listener("bare", 8443, "HTTPS"), listener("tcp", 9000, "TCP"),
            listener("busy", 9001),
        ),
        unavailable={9001: "port 9001 cannot be listened on: in use"},
    )  # fmt: skip
    [(_, status)] = found.gateways
    of = {each.name: each.conditions for each in status.listeners}
    assert said(of["tls"], "Programmed") == ("True", "Programmed")
    assert said(of["bare"], "ResolvedRefs") == ("False", "InvalidCertificateRef")
    assert said(of["tcp"], "Accepted") == ("False", "UnsupportedProtocol")
    assert said(of["busy"], "Accepted") == ("False", "PortUnavailable")
    assert said(status.conditions, "Accepted") == ("True", "ListenersNotValid")
    assert set(found.ports) == {443} and found.secure == {443}


def test_a_grant_lets_a_route_use_another_namespaces_service_and_no_other() -> None:
    def grant(kind: str, **to: str) -> ReferenceGrant:
        source = {"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "apps"}
        spec = {"from": [source], "to": [{"group": "", "kind": "Service", **to}]}
        return convert({"metadata": {"name": "x", "namespace": "other"}, "spec": spec}, ReferenceGrant)

    wants = route({"backendRefs": [{"name": "a", "namespace": "other", "port": 80}]})
    assert of_route(made([wants], grants=(grant("HTTPRoute"),)), "ResolvedRefs")[0] == "True"
    assert of_route(made([wants], grants=(grant("HTTPRoute", name="a"),)), "ResolvedRefs")[0] == "True"
    for wrong in (grant("HTTPRoute", name="b"), grant("TCPRoute")):
        assert of_route(made([wants], grants=(wrong,)), "ResolvedRefs") == ("False", "RefNotPermitted")


def test_a_status_that_says_the_same_keeps_its_times() -> None:
    [(mine, first)] = made([route()]).routes
    known = convert({"metadata": {"name": "r", "namespace": "apps", "generation": 1}, "spec": {}}, HTTPRoute)
    again = HTTPRoute(metadata=known.metadata, spec=mine.spec, status=first)
    world = World([CLASS], [gateway()], [again], (), {}, backends(), ("10.106.0.1",))
    [(_, second)] = programme(world, lambda secret: True, NOW + 60).routes
    assert second == first


def test_the_most_exact_rule_wins() -> None:
    found = made([
        route(to("a"), {**to("b"), "matches": [at("/api")]}, {**to("c"), "matches": [at("/api/v1", "Exact")]}),
        route({**to("d"), "matches": [at("/api", method="POST")]}, name="post"),
        route(to("d"), name="host", hostnames=("x.io",)),
        route(to("c"), name="wild", hostnames=("*.x.io",)),
        route({**to("d"), "matches": [at("/api", headers=[{"name": "X-V", "value": "2"}])]}, name="head"),
        route({**to("c"), "matches": [at("/api", queryParams=[{"name": "q", "value": "1"}])]}, name="query"),
        route({**to("c"), "matches": [at("/r/[0-9]+", "RegularExpression")]}, name="regex"),
    ])  # fmt: skip
    for host, path, more, name in [
        ("y.io", "/", {}, "a"), ("y.io", "/api", {}, "b"), ("y.io", "/api/x", {}, "b"), ("y.io", "/apis", {}, "a"),
        ("y.io", "/api/v1", {}, "c"), ("y.io", "/api", {"method": "POST"}, "d"), ("x.io:80", "/", {}, "d"),
        ("w.x.io", "/", {}, "c"), ("v.w.x.io", "/", {}, "c"), ("y.io", "/api", {"x_v": "2"}, "d"),
        ("y.io", "/api", {"query": "q=1"}, "c"), ("y.io", "/api", {"query": "q=2"}, "b"), ("y.io", "/r/7", {}, "c"),
        ("y.io", "/r/x", {}, "a"),
    ]:  # fmt: skip
        assert led(found, host, path, **more) == name, (host, path, more)


def test_of_equal_rules_the_older_routes_wins() -> None:
    old, new = (
        route(to("a"), name="z", created="2026-01-01T00:00:00Z"),
        route(to("b"), name="a", created="2026-01-02T00:00:00Z"),
    )
    assert led(made([new, old]), "x", "/") == "a"


def test_durations_are_read_as_the_specification_writes_them() -> None:
    assert [seconds_of(text) for text in ("10s", "1h30m", "250ms", "0s", None)] == [10.0, 5400.0, 0.25, None, None]


class Lab:
    def __init__(self) -> None:
        self.carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
        self.proxy = GatewayProxy(SystemClock(), self.carrier)
        self.seen: list[tuple[str, Request]] = []
        self.servers: list[Server] = []
        self.fails = 0
        self.waits, self.slow = 0.0, 0
        self.streams = False

    async def backend(self, name: str) -> tuple[str, int]:
        async def answer(request: Request) -> Response:
            self.seen.append((name, request))
            if self.slow:
                self.slow -= 1
                await asyncio.sleep(self.waits)
            if self.fails:
                self.fails -= 1
                return Response(503, body=self.body("failed"))
            return Response(200, {"X-Backend": name, "X-Gone": "y"}, self.body(name))

        server = await serve(answer)
        self.servers.append(server)
        return "127.0.0.1", server.port

    def body(self, text: str) -> bytes | AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield text.encode()

        return pieces() if self.streams else text.encode()

    async def front(self, *routes: HTTPRoute, **where: tuple[str, int]) -> Client:
        found = made(list(routes), known=backends({name: [address] for name, address in where.items()}))
        self.proxy.use(found.ports)
        server = await serve(self.proxy.handler(80, "http"))
        self.servers.append(server)
        return Client(f"http://127.0.0.1:{server.port}")


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made_lab = Lab()
    mirroring = asyncio.ensure_future(made_lab.proxy.run())
    yield made_lab
    mirroring.cancel()
    made_lab.carrier.close()
    for server in made_lab.servers:
        await server.close()


async def got(client: Client, path: str, host: str = "x.io", **headers: str) -> Response:
    return await client.send(Request("GET", path, headers={"host": host, **headers}))


async def test_headers_are_set_added_and_removed_both_ways(lab: Lab) -> None:
    change = {"set": [{"name": "X-A", "value": "1"}], "add": [{"name": "X-B", "value": "2"}], "remove": ["X-Gone"]}
    filters = [
        {"type": "RequestHeaderModifier", "requestHeaderModifier": change},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": change},
    ]
    front = await lab.front(route(to("a", filters=filters)), a=await lab.backend("a"))
    answer = await got(front, "/", **{"x-a": "old", "x-b": "1", "x-gone": "x"})
    _, request = lab.seen[0]
    assert (request.headers["x-a"], request.headers["x-b"]) == ("1", "1, 2") and "x-gone" not in request.headers
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert (headers["x-a"], headers["x-b"]) == ("1", "2") and "x-gone" not in headers and headers["x-backend"] == "a"


@pytest.mark.parametrize(
    ("by", "location"),
    [
        ({"scheme": "https", "statusCode": 301}, "https://x.io/a/b?q=1"),
        ({"hostname": "y.io", "port": 8080}, "http://y.io:8080/a/b?q=1"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}, "http://x.io/new?q=1"),
        ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/z"}}, "http://x.io/z/b?q=1"),
    ],
    ids=range(4),
)
async def test_redirects_say_where(lab: Lab, by: dict[str, Any], location: str) -> None:
    filters = [{"type": "RequestRedirect", "requestRedirect": by}]
    front = await lab.front(route({"matches": [at("/a")], "filters": filters}))
    answer = await front.send(Request("GET", "/a/b", "q=1", {"host": "x.io"}))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert (answer.status, headers["location"]) == (by.get("statusCode", 302), location)


async def test_a_preflight_is_answered_without_a_backend_and_what_follows_says_who_may_use_it(lab: Lab) -> None:
    cors = {"type": "CORS", "cors": {"allowOrigins": ["https://*.io"], "allowMethods": ["GET"]}}
    front = await lab.front(route(to("a", filters=[cors])), a=await lab.backend("a"))
    asking = {"host": "x.io", "origin": "https://a.io", "access-control-request-method": "GET"}
    answer = await front.send(Request("OPTIONS", "/", headers=asking))
    assert (answer.status, answer.headers["access-control-allow-methods"], lab.seen) == (204, "GET", [])
    answer = await got(front, "/", origin="https://a.io")
    assert answer.status == 200 and answer.headers["access-control-allow-origin"] == "https://a.io"
    assert "access-control-allow-origin" not in (await got(front, "/", origin="https://a.com")).headers


async def test_a_rewritten_request_has_another_host_and_path(lab: Lab) -> None:
    by = {"hostname": "in.io", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
    rule = to("a", matches=[at("/a")], filters=[{"type": "URLRewrite", "urlRewrite": by}])
    front = await lab.front(route(rule), a=await lab.backend("a"))
    await got(front, "/a/b")
    await got(front, "/a")
    assert [(r.path, r.headers["host"]) for _, r in lab.seen] == [("/b", "in.io"), ("/", "in.io")]


async def test_a_mirror_sees_each_request_and_its_answer_goes_nowhere(lab: Lab) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}}}
    front = await lab.front(route(to("a", filters=[mirror])), a=await lab.backend("a"), b=await lab.backend("b"))
    answer = await got(front, "/m")
    assert await answer.read() == b"a"
    async with asyncio.timeout(5):
        while len(lab.seen) < 2:
            await asyncio.sleep(0.01)
    assert sorted((name, request.path) for name, request in lab.seen) == [("a", "/m"), ("b", "/m")]


def sets_a_header(of: str, value: str) -> dict[str, Any]:
    return {"type": f"{of.title()}HeaderModifier", f"{of}HeaderModifier": {"set": [{"name": "X-A", "value": value}]}}


@pytest.mark.parametrize(
    "unfit",
    [
        sets_a_header("request", "a\nInjected: b"),
        sets_a_header("request", "\N{SNOWMAN}"),
        sets_a_header("response", "a\nInjected: b"),
        sets_a_header("response", "\N{SNOWMAN}"),
        {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/a\nb"}}},
    ],
    ids=range(5),
)
async def test_what_cannot_be_sent_fails_its_requests_no_backend_is_asked_and_mirrors_go_on(
    lab: Lab, unfit: dict[str, Any]
) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}}}
    good = to("a", matches=[at("/good")], filters=[mirror])
    bad = to("a", matches=[at("/bad")], filters=[unfit, mirror])
    front = await lab.front(route(good, bad), a=await lab.backend("a"), b=await lab.backend("b"))
    for _ in range(3):
        assert (await got(front, "/bad")).status == 500
    assert (await got(front, "/good")).status == 200
    async with asyncio.timeout(5):
        while len(lab.seen) < 2:
            await asyncio.sleep(0.01)
    assert sorted((name, request.path) for name, request in lab.seen) == [("a", "/good"), ("b", "/good")]


async def test_a_backends_own_filters_hold_for_its_share_and_a_share_of_requests_can_be_mirrored(lab: Lab) -> None:
    def mirror(**share: Any) -> dict[str, Any]:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}, **share}}

    never = [mirror(percent=0), mirror(fraction={"numerator": 0})]
    always = [mirror(fraction={"numerator": 3, "denominator": 3})]
    rule = {"backendRefs": [{"name": "a", "port": 80, "filters": always}], "filters": never}
    front = await lab.front(route(rule), a=await lab.backend("a"), b=await lab.backend("b"))
    for _ in range(5):
        await got(front, "/m")
    async with asyncio.timeout(5):
        while [name for name, _ in lab.seen].count("b") < 5:
            await asyncio.sleep(0.01)
    assert sorted(name for name, _ in lab.seen) == ["a"] * 5 + ["b"] * 5 and lab.proxy.mirrors.empty()


async def test_requests_are_shared_out_by_weight_and_a_bad_reference_gets_its_share_of_500(lab: Lab) -> None:
    rule = {"backendRefs": [
        {"name": "a", "port": 80, "weight": 3}, {"name": "b", "port": 80}, {"name": "none", "port": 80}, {"name": "b", "port": 80, "weight": 0},
    ]}  # fmt: skip
    front = await lab.front(route(rule), a=await lab.backend("a"), b=await lab.backend("b"))
    statuses = [(await got(front, "/")).status for _ in range(100)]
    names = [name for name, _ in lab.seen]
    assert 45 <= names.count("a") <= 75 and 8 <= names.count("b") <= 32
    assert statuses.count(500) == 100 - len(names) > 0


def test_an_expression_costs_requests_little_whatever_it_is() -> None:
    """Also one that is none is looked at once; groups are not followed."""
    compiled.cache_clear()
    hostile = ["(" * 400 + "a" + ")" * 400, r"\pL{1000}", "[^/]{0,999}" * 20, "(", "(a*)*" * 100]
    found = made([route(*(to("a", matches=[at(pattern, "RegularExpression")]) for pattern in hostile))])
    for _ in range(50):
        assert led(found, "x.io", "a") == "a"
        assert led(found, "x.io", "/b") is None
    assert compiled.cache_info().misses == len(hostile)
    assert compiled(hostile[0]).groups == 0 and [compiled(pattern) for pattern in hostile[1:4]] == [None] * 3


async def test_no_rule_is_404_and_what_leads_nowhere_500(lab: Lab) -> None:
    front = await lab.front(
        route(
            to("a"),
            {"matches": [at("/none")]},
            {**to("b"), "matches": [at("/b")]},
            to("a", matches=[at("/x")], filters=[{"type": "ExtensionRef"}]),
            hostnames=("x.io",),
        ),
        a=await lab.backend("a"),
    )
    assert [(await got(front, *where)).status for where in (("/", "y.io"), ("/none",), ("/b",), ("/x",))] == [
        404,
        500,
        500,
        500,
    ]


async def test_a_backend_that_takes_too_long_is_a_504(lab: Lab) -> None:
    front = await lab.front(route(to("a", timeouts={"request": "50ms"})), a=await lab.backend("a"))
    lab.waits, lab.slow = 5.0, 1
    assert (await got(front, "/")).status == 504


async def test_a_failing_answer_is_asked_for_again_as_often_as_the_rule_says(lab: Lab) -> None:
    front = await lab.front(route(to("a", retry={"codes": [503], "attempts": 2})), a=await lab.backend("a"))
    lab.fails = 2
    assert (await got(front, "/")).status == 200 and len(lab.seen) == 3
    lab.fails = 3
    assert (await got(front, "/")).status == 503


async def test_before_each_retry_as_much_time_passes_as_the_rule_says(lab: Lab) -> None:
    class NoTime(SystemClock):
        async def sleep(self, seconds: float) -> None:
            slept.append(seconds)

    slept: list[float] = []
    lab.proxy.clock = NoTime()
    again = {"codes": [503], "attempts": 3, "backoff": "1m500ms"}
    front = await lab.front(route(to("a", retry=again)), a=await lab.backend("a"))
    lab.fails = 2
    assert (await got(front, "/")).status == 200 and slept == [60.5, 60.5]


async def test_a_rule_with_retries_has_requests_of_every_method_sent_again_and_another_has_not(lab: Lab) -> None:
    again = to("a", matches=[at("/again")], retry={"codes": [503]})
    front = await lab.front(route(again, to("a", matches=[at("/once")])), a=await lab.backend("a"))
    for path, status in (("/again", 200), ("/once", 503)):
        lab.fails = 1
        answer = await front.send(Request("POST", path, headers={"host": "x.io"}, body=b"all of it"))
        lab.fails = 0
        assert answer.status == status
    assert [request.body for _, request in lab.seen] == [b"all of it"] * 3


async def test_an_attempt_that_takes_too_long_is_one_that_failed(lab: Lab) -> None:
    rule = to("a", timeouts={"backendRequest": "100ms"}, retry={"attempts": 2})
    front = await lab.front(route(rule), a=await lab.backend("a"))
    lab.waits, lab.slow = 30.0, 2
    assert (await got(front, "/")).status == 200 and len(lab.seen) == 3
    lab.slow = 3
    assert (await got(front, "/")).status == 504 and len(lab.seen) == 6


async def test_answers_that_nobody_reads_hold_no_connection(lab: Lab) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}}}
    again = to("a", matches=[at("/again")], retry={"codes": [503], "attempts": 2})
    both = to("a", matches=[at("/both")], filters=[mirror])
    front = await lab.front(route(again, both), a=await lab.backend("a"), b=await lab.backend("b"))
    lab.streams, lab.fails = True, 1
    for path in ("/again", "/both"):
        assert await (await got(front, path)).read() == b"a"
    async with asyncio.timeout(5):
        while len(lab.seen) < 4 or any(len(pool.open) > len(pool.idle) for pool in lab.carrier.pools.values()):
            await asyncio.sleep(0.01)


async def test_a_connection_that_is_to_be_taken_over_is_not_mirrored(lab: Lab) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}}}
    front = await lab.front(route(to("a", filters=[mirror])), a=await lab.backend("a"), b=await lab.backend("b"))
    await got(front, "/", connection="Upgrade", upgrade="websocket")
    await got(front, "/")
    async with asyncio.timeout(5):
        while len(lab.seen) < 3:
            await asyncio.sleep(0.01)
    assert sorted(name for name, _ in lab.seen) == ["a", "a", "b"] and lab.proxy.mirrors.empty()


async def test_hosts_that_no_listener_knows_are_somebody_elses(lab: Lab) -> None:
    await lab.front(route(hostnames=("x.io",)), a=await lab.backend("a"))

    async def ingress(request: Request) -> Response:
        return Response(200, {}, b"ingress")

    server = await serve(lab.proxy.handler(80, "http", ingress))
    lab.servers.append(server)
    front = Client(f"http://127.0.0.1:{server.port}")
    assert [await (await got(front, "/", host)).read() for host in ("x.io", "y.io")] == [b"a", b"ingress"]
