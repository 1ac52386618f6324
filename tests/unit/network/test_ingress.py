"""Ingress: which route a request takes, and how it is carried, over real sockets on the loopback."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import Ingress, IngressBackend
from kybern.network.ingress.carrying import Carrier
from kybern.network.ingress.proxy import IngressProxy
from kybern.network.ingress.routing import Backends, Route, Table, Target, is_of_class, problems, table
from kybern.web.client import Client
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.pki import SERVER, create_ca, issue
from kybern.web.server import Server, serve
from kybern.web.tls import client_context, server_context

NOW = time.time()


def ingress(
    name: str, rules: list[tuple[str, str, str, str]], created: str = "2026-01-01T00:00:00Z", **spec: object
) -> Ingress:
    """`rules`: host, path, type, service."""
    found = [
        {
            **({"host": host} if host else {}),
            "http": {"paths": [{
                "path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}},
            }]},
        }
        for host, path, kind, service in rules
    ]  # fmt: skip
    meta = {"name": name, "namespace": "d", "uid": name, "creationTimestamp": created}
    return from_builtins(Ingress, {"metadata": meta, "spec": {"ingressClassName": "kybern", "rules": found, **spec}})


def service(name: str) -> Service:
    return from_builtins(
        Service, {"metadata": {"name": name, "namespace": "d"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    )


def piece(*addresses: str, port: int = 8080, ready: bool = True) -> EndpointSlice:
    return from_builtins(EndpointSlice, {
        "metadata": {"name": "x"}, "addressType": "IPv4", "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": ready, "serving": True, "terminating": not ready}} for ip in addresses],
    })  # fmt: skip


NAMES = ("a", "b", "c", "d")
BACKENDS = Backends(
    {("d", name): service(name) for name in NAMES}, {("d", name): [piece("10.0.0.1")] for name in NAMES}
)


def found(routes: Table, url: str) -> str | None:
    host, slash, path = url.partition("/")
    target = routes.find(host, slash + path)
    return target.service if target else None


def test_hosts_and_paths_match_as_upstream_describes_them() -> None:
    made = table([ingress("i", [
        ("x.io", "/", "Prefix", "a"), ("x.io", "/api", "Prefix", "b"), ("x.io", "/api/v1", "Exact", "c"),
        ("*.x.io", "/", "Prefix", "d"),
    ])], BACKENDS)  # fmt: skip
    for url, name in {
        "x.io/": "a", "x.io/apis": "a", "x.io/api": "b", "x.io/api/": "b", "x.io/api/v1": "c", "x.io/api/v1/": "b",
        "X.IO:8080/api": "b", "w.x.io/": "d", "v.w.x.io/": None, "y.io/": None,
    }.items():  # fmt: skip
        assert found(made, url) == name, url


def test_a_rule_without_a_host_is_for_all_and_the_default_for_the_rest() -> None:
    backend = {"service": {"name": "d", "port": {"name": "http"}}}
    made = table([ingress("i", [("", "/any", "Prefix", "a")], defaultBackend=backend)], BACKENDS)
    assert (found(made, "y.io/any"), found(made, "y.io/")) == ("a", "d")


def test_of_two_that_ask_for_the_same_the_older_one_has_it() -> None:
    rule = ("x.io", "/", "Prefix")
    new, old = ingress("n", [(*rule, "a")], "2026-02-01T00:00:00Z"), ingress("o", [(*rule, "b")])
    assert found(table([new, old], BACKENDS), "x.io/") == "b"


def test_what_is_wrong_with_an_ingress_is_told() -> None:
    made = ingress("i", [("x.io", "/", "Prefix", "nothing")])
    assert problems(made, BACKENDS) == ["service d/nothing does not exist"]
    assert is_of_class(made, ["kybern"]) and not is_of_class(made, ["other"])


def test_terminating_endpoints_serve_when_no_other_is_left() -> None:
    backends = Backends({("d", "a"): service("a")}, {("d", "a"): [piece("10.0.0.1", ready=False)]})
    target = table([ingress("i", [("", "/", "Prefix", "a")])], backends).find("x", "/")
    assert target is not None and target.addresses == (("10.0.0.1", 8080),)


@pytest.mark.parametrize(
    ("port", "speaks"),
    [({}, "http"), ({"appProtocol": "https"}, "https"), ({"name": "https", "port": 443}, "https"),
     ({"appProtocol": "kubernetes.io/h2c"}, "h2c"), ({"appProtocol": "kubernetes.io/ws"}, "http")],
)  # fmt: skip
def test_a_port_says_what_it_is_spoken_to_by(port: dict[str, Any], speaks: str) -> None:
    asked = {"name": "http", "port": 80, **port}
    given = from_builtins(Service, {"metadata": {"name": "a", "namespace": "d"}, "spec": {"ports": [asked]}})
    backend = from_builtins(IngressBackend, {"service": {"name": "a", "port": {"number": asked["port"]}}})
    assert Backends({("d", "a"): given}, {}).target("d", backend).speaks == speaks


class Lab:
    def __init__(self) -> None:
        self.carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
        self.proxy = IngressProxy(SystemClock(), self.carrier)
        self.seen: list[Request] = []
        self.servers: list[Server] = []

    async def backend(self, name: str) -> tuple[str, int]:
        async def answer(request: Request) -> Response:
            self.seen.append(request)
            if "upgrade" in request.headers:
                return Upgrade(101, {"Connection": "Upgrade", "Upgrade": "websocket"}, takeover=echo)
            return Response(200, {"X-Backend": name}, await request.read() or name.encode())

        server = await serve(answer)
        self.servers.append(server)
        return "127.0.0.1", server.port

    async def front(self, context: ssl.SSLContext | None = None) -> Client:
        server = await serve(self.proxy.secure if context else self.proxy.plain, ssl=context)
        self.servers.append(server)
        return Client(f"http://127.0.0.1:{server.port}")

    def lead_to(self, *addresses: tuple[str, int], redirected: frozenset[str] = frozenset()) -> None:
        target = Target("d", "a", addresses)
        self.proxy.use(Table({"": (Route("/", False, target, "d/i"),)}), redirected)


async def echo(connection: Connection) -> None:
    while data := await connection.receive():
        await connection.send(data)
    connection.close()


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    made = Lab()
    yield made
    made.carrier.close()
    for server in made.servers:
        await server.close()


async def test_the_backend_sees_the_host_and_who_asks(lab: Lab) -> None:
    lab.lead_to(await lab.backend("one"))
    async with await lab.front() as client:
        answer = await client.send(
            Request("POST", "/x", "q=1", {"host": "shop.example", "x-forwarded-for": "9.9.9.9"}, b"body")
        )
    assert (answer.status, await answer.read(), answer.headers["x-backend"]) == (200, b"body", "one")
    [seen] = lab.seen
    assert (seen.path, seen.query, seen.headers["host"]) == ("/x", "q=1", "shop.example")
    assert seen.headers["x-forwarded-for"] == "9.9.9.9, 127.0.0.1"
    assert (seen.headers["x-forwarded-proto"], seen.headers["x-real-ip"]) == ("http", "127.0.0.1")


async def test_a_client_cannot_have_the_forwarded_headers_taken_away(lab: Lab) -> None:
    lab.lead_to(await lab.backend("one"))
    named = "close, X-Forwarded-For, X-Real-IP, X-Forwarded-Proto, X-Mine"
    async with await lab.front() as client:
        await client.send(Request("GET", "/", headers={"connection": named, "x-real-ip": "9.9.9.9", "x-mine": "x"}))
        headers = {"connection": f"Upgrade, {named}", "upgrade": "websocket"}
        answer, connection = await client.upgrade(Request("GET", "/ws", headers=headers))
        assert answer.status == 101 and connection is not None
        connection.close()
    for seen in lab.seen:
        forwarded = [seen.headers[f"x-{name}"] for name in ("real-ip", "forwarded-for", "forwarded-proto")]
        assert forwarded == ["127.0.0.1", "127.0.0.1", "http"] and "x-mine" not in seen.headers


async def test_a_backend_that_is_gone_is_passed_over(lab: Lab) -> None:
    alive, gone = await lab.backend("one"), await lab.backend("two")
    await lab.servers.pop().close()
    lab.lead_to(alive, gone)
    async with await lab.front() as client:
        assert {(await client.send(Request("GET", "/"))).status for _ in range(20)} == {200}
        lab.lead_to(gone)
        assert (await client.send(Request("GET", "/"))).status == 502
        lab.lead_to()
        assert (await client.send(Request("GET", "/"))).status == 503


async def test_a_changed_table_holds_for_the_next_request_of_the_same_connection(lab: Lab) -> None:
    one, two = await lab.backend("one"), await lab.backend("two")
    lab.lead_to(one)
    async with await lab.front() as client:
        assert await (await client.send(Request("GET", "/"))).read() == b"one"
        [connection] = client.idle
        lab.lead_to(two)
        assert await (await client.send(Request("GET", "/"))).read() == b"two"
        assert client.idle == [connection]


async def test_a_websocket_is_carried_both_ways(lab: Lab) -> None:
    lab.lead_to(await lab.backend("one"))
    async with await lab.front() as client:
        headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-key": "x"}
        answer, connection = await client.upgrade(Request("GET", "/ws", "", headers))
        assert answer.status == 101 and connection is not None
        await connection.send(b"hello")
        assert await connection.receive() == b"hello"
        connection.close()


async def test_what_nothing_is_meant_for_is_not_found_and_a_tls_host_is_redirected(lab: Lab) -> None:
    async with await lab.front() as client:
        assert (await client.send(Request("GET", "/", "", {"host": "x.io"}))).status == 404
        lab.lead_to(("127.0.0.1", 1), redirected=frozenset({"x.io"}))
        answer = await client.send(Request("GET", "/a", "b=c", {"host": "x.io"}))
        assert (answer.status, answer.headers["location"]) == (308, "https://x.io/a?b=c")


async def test_a_wildcard_with_a_certificate_redirects_the_hosts_that_have_no_rules_of_their_own(lab: Lab) -> None:
    routes = (Route("/", False, Target("d", "a", (await lab.backend("one"),)), "d/i"),)
    lab.proxy.use(Table({"*.x.io": routes, "own.x.io": routes}), frozenset({"*.x.io"}))
    async with await lab.front() as client:
        answers = [await client.send(Request("GET", "/", headers={"host": host})) for host in ("w.X.io:80", "own.x.io")]
    assert [answer.status for answer in answers] == [308, 200] and answers[0].headers["location"] == "https://w.x.io/"


async def test_the_certificate_is_the_one_of_the_name_that_is_asked_for(lab: Lab) -> None:
    ca = create_ca("test", NOW)
    contexts = {}
    for name in ("one.io", "two.io"):
        pair = issue(ca, name, now=NOW, dns_names=[name], ips=[], usages=(SERVER,))
        contexts[name] = server_context(pair.certificate, pair.key)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts[name or "one.io"]

    front = server_context(pair.certificate, pair.key)
    front.sni_callback = choose
    await lab.front(front)
    port = lab.servers[-1].port
    for name in contexts:
        trusting = client_context(ca=ca.certificate)
        trusting.verify_flags &= ~ssl.VERIFY_X509_STRICT
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname=name)
        assert ("DNS", name) in writer.get_extra_info("peercert")["subjectAltName"]
        writer.close()
