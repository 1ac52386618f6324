"""What goes through the API server to other servers, and what does not: links, methods, credentials, places (X01-X10)."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from kybern.aio.ids import Ids
from kybern.apiserver.connections import passing, places, proxy, rewriting
from kybern.apiserver.connections.kubelets import Address, Kubelets
from kybern.apiserver.connections.pod_log import PodLog
from kybern.apiserver.connections.proxy import Proxy
from kybern.apiserver.connections.rewriting import Rewriting
from kybern.apiserver.dispatch import Dispatch
from kybern.web.client import Client
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.passing import pass_on
from kybern.web.server import Server, serve
from kybern.web.websocket import HandshakeRefused, connect

PODS = "/api/v1/namespaces/default/pods"
PROXY = "/api/v1/nodes/n1/proxy"
PAGE = b"""<!DOCTYPE html><html><head><link rel=stylesheet HREF='/style.css'><script src="/app.js"></script></head>
<body><a href="/docs/?a=1#b">x</a> <a href="docs">y</a> <A class="b" Href = /c>z</A> <img src="http://other/x.png">
<form action="http://%(host)b/send"></form> <a href="//evil/x">e</a> <p title="/no">1 < 2 > /x</p></body></html>"""
REWRITTEN = b"""<!DOCTYPE html><html><head><link rel=stylesheet HREF='%(at)b/style.css'><script src="%(at)b/app.js"></script></head>
<body><a href="%(at)b/docs/?a=1#b">x</a> <a href="docs">y</a> <A class="b" Href = %(at)b/c>z</A> <img src="http://other/x.png">
<form action="%(at)b/send"></form> <a href="//evil/x">e</a> <p title="/no">1 < 2 > /x</p></body></html>"""


class Backend:
    """Stands in for everything behind the proxy; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answer = Response(200, {"Content-Type": "text/plain"}, b"hello")
        self.bodies: list[bytes] = []

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        self.bodies.append(await request.read())
        if "upgrade" in request.headers and self.answer.status == 200:
            return Upgrade(101, {"Connection": "Upgrade", "Upgrade": request.headers["upgrade"]}, takeover=echo)
        return self.answer


async def echo(connection: Connection) -> None:
    while data := await connection.receive():
        await connection.send(data.upper())
    connection.close()


class PlainKubelets(Kubelets):
    def __init__(self, objects: Any, port: int) -> None:
        super().__init__(objects, ssl.create_default_context())
        self.port = port

    def client(self, address: Address) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", idle_connections_max=0)


class Front:
    def __init__(self, api: Any, backend: Backend, behind: Server, client: Client) -> None:
        self.api, self.backend, self.behind, self.client = api, backend, behind, client

    async def send(self, method: str, path: str, body: bytes = b"", query: str = "", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.send(Request(method, path, query, named, body))
        response.body = await response.read()
        return response

    async def pod_at(self, address: str, port: int = 0) -> None:
        spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": port or self.behind.port}]}]}
        await self.api.post(PODS, {"metadata": {"name": "p"}, "spec": spec | {"nodeName": "n1"}})
        await self.api.patch(f"{PODS}/p/status", {"status": {"podIP": address}})


@pytest.fixture
async def front(api: Any) -> AsyncIterator[Front]:
    backend = Backend()
    behind = await serve(backend)
    kubelets = PlainKubelets(api.objects, behind.port)
    layer = api.server.first
    while not isinstance(layer, Dispatch):
        layer = layer.next
    through = Proxy(api.objects, kubelets, Ids(1))
    layer.connections = {
        "pods/log": PodLog(api.objects, kubelets),
        "pods/proxy": through.pod,
        "services/proxy": through.service,
        "nodes/proxy": through.node,
    }
    await api.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    await api.patch("/api/v1/nodes/n1/status", {"status": status})
    listener = await serve(api.server)
    async with Client(f"http://127.0.0.1:{listener.port}") as client:
        yield Front(api, backend, behind, client)
    await listener.close()
    await behind.close()


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend of the tests is on loopback, where pods never are."""
    monkeypatch.setattr(proxy, "check_host", lambda host: None)


@pytest.fixture
def endpoints_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor may endpoints be there."""
    monkeypatch.setattr("kybern.registry.endpoints.ordinary_address", lambda at, address: ())


# --- what is passed on ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_goes_through_with_its_body(front: Front, method: str) -> None:
    body = b"" if method in ("GET", "HEAD", "OPTIONS") else b"what is sent"
    answer = await front.send(method, f"{PROXY}/a/b%2Fc%20d/", body, "q=1&q=2", content_type="text/x")
    assert answer.status == 200
    [asked] = front.backend.asked
    assert (asked.method, asked.path, asked.query) == (method, "/a/b/c%20d/", "q=1&q=2")
    assert front.backend.bodies == [body]
    assert asked.headers["x-forwarded-uri"] == f"{PROXY}/a/b%2Fc%20d/"


async def test_a_long_body_streams_through(front: Front) -> None:
    body = bytes(range(256)) * 4096
    assert (await front.send("POST", f"{PROXY}/x", body)).status == 200
    assert front.backend.bodies == [body]


async def test_a_pod_and_its_ports_are_reached_by_name_scheme_and_port(front: Front, reachable: None) -> None:
    await front.pod_at("127.0.0.1")
    for name in ("p", f"p:{front.behind.port}", f"http:p:{front.behind.port}"):
        assert (await front.send("GET", f"{PODS}/{name}/proxy/x")).body == b"hello"
    assert (await front.send("GET", f"{PODS}/https:p:{front.behind.port}/proxy/x")).status == 503
    refused = await front.send("GET", f"{PODS}/ftp:p:1/proxy/x")
    assert (refused.status, json.loads(refused.body)["message"]) == (400, 'invalid pod request "ftp:p:1"')


@pytest.mark.parametrize(
    ("port", "why"),
    [
        ("web", "lookup tcp/web: unknown port"),
        ("0", "address 0: invalid port"),
        ("70000", "address 70000: invalid port"),
    ],
)
async def test_a_port_that_nobody_can_dial_is_unavailable(front: Front, port: str, why: str) -> None:
    """As upstream: the name that a container gave to its port is not looked at."""
    await front.pod_at("10.0.0.7")
    answer = await front.send("GET", f"{PODS}/p:{port}/proxy/x")
    told = f"error trying to reach service: dial tcp: {why}"
    assert (answer.status, json.loads(answer.body)["message"]) == (503, told)


async def test_a_ports_name_is_one_that_the_machine_knows(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {("known", "tcp"): front.behind.port}
    monkeypatch.setattr(places.socket, "getservbyname", lambda name, protocol: known[name, protocol])
    monkeypatch.setattr(proxy, "check_host", lambda host: None)
    await front.pod_at("127.0.0.1", 1)
    assert (await front.send("GET", f"{PODS}/p:known/proxy/x")).body == b"hello"


SERVICES = "/api/v1/namespaces/default/services"


async def serving_pod(
    front: Front, target: dict[str, str] | None, port_name: str = "", address: str = "127.0.0.1"
) -> int:
    """Makes one, behind a Service; how its endpoints were answered."""
    await front.pod_at(address)
    ports = [{"port": 8080, "name": port_name} if port_name else {"port": 8080}]
    await front.api.post(SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": ports, "clusterIP": "10.96.0.9"}})
    ready = {"ip": address} if target is None else {"ip": address, "targetRef": target}
    at = {"port": front.behind.port, "name": port_name} if port_name else {"port": front.behind.port}
    endpoints = {"metadata": {"name": "s"}, "subsets": [{"addresses": [ready], "ports": [at]}]}
    return int((await front.api.post("/api/v1/namespaces/default/endpoints", endpoints)).status)


ENDLESS = "9" * 5_000
HERE = {"kind": "Pod", "name": "p", "namespace": "default"}


@pytest.mark.parametrize(
    ("name", "path", "told"),
    [
        ("", "s", None),
        ("", "s:8080", None),
        ("", "http:s:8080", None),
        ("web", "s:web", None),
        ("web", "s:8080", None),
        ("web", "s", 'no endpoints available for service "s"'),
        ("", "s:web", 'no endpoints available for service "s:web"'),
        ("", "s:81", 'no service port 81 found for service "s"'),
        ("", f"s:{ENDLESS}", f'no endpoints available for service "s:{ENDLESS}"'),
    ],
)
async def test_a_services_port_is_given_by_its_number_or_its_own_name(
    front: Front, reachable: None, endpoints_anywhere: None, name: str, path: str, told: str | None
) -> None:
    await serving_pod(front, HERE, name)
    answer = await front.send("GET", f"{SERVICES}/{path}/proxy/x")
    assert answer.status == (200 if told is None else 503)
    assert told is None or json.loads(answer.body)["message"] == told


async def test_of_the_pods_behind_a_service_only_the_chosen_one_is_looked_at(
    front: Front, reachable: None, endpoints_anywhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be a thousand."""
    looked_at = []

    def looking(self: Proxy, address: Any, namespace: str) -> bool:
        looked_at.append(address.ip)
        return address.ip == "127.0.0.1"

    await serving_pod(front, HERE)
    monkeypatch.setattr(Proxy, "_is_pods", looking)
    monkeypatch.setattr(proxy, "places", lambda *asked: [*places.places(*asked)] * 10)
    assert (await front.send("GET", f"{SERVICES}/s/proxy/x")).status == 200
    assert looked_at == ["127.0.0.1"]


@pytest.mark.parametrize("target", [None, HERE | {"name": "q"}, HERE | {"namespace": "kube-system"}])
async def test_endpoints_that_are_no_pods_are_not_proxied_to(
    front: Front, reachable: None, endpoints_anywhere: None, target: dict[str, str] | None
) -> None:
    """Whoever may write endpoints could otherwise make this server ask any address."""
    await serving_pod(front, target)
    answer = await front.send("GET", f"{SERVICES}/s/proxy/x")
    assert (answer.status, front.backend.asked) == (503, [])


async def test_what_a_service_has_not_is_not_found(front: Front) -> None:
    for path, kind in (("s", "endpoints"), ("s:80", "services")):
        answer = await front.send("GET", f"{SERVICES}/{path}/proxy/x")
        assert (answer.status, json.loads(answer.body)["message"]) == (404, f'{kind} "s" not found')


async def test_an_upgrade_goes_through_and_a_refused_one_is_over(front: Front) -> None:
    asked = Request("GET", f"{PROXY}/ws", "", {"connection": "Upgrade", "upgrade": "thing"})
    response, connection = await front.client.upgrade(asked)
    assert response.status == 101 and connection is not None
    await connection.send(b"abc")
    assert await connection.receive() == b"ABC"
    connection.close()
    front.backend.answer = Response(403, {}, b"no")
    response, other = await front.client.upgrade(asked)
    if other is not None:
        other.close()
    assert (response.status, other, response.body) == (403, None, b"no")


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
async def test_links_of_a_page_lead_back_through_the_proxy(front: Front, streamed: bool) -> None:
    page = PAGE % {b"host": front.client.authority.encode()}

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(page), 7):
            yield page[at : at + 7]

    front.backend.answer = Response(200, {"Content-Type": "text/html; charset=utf-8"}, pieces() if streamed else page)
    answer = await front.send("GET", f"{PROXY}/docs/")
    assert answer.body == REWRITTEN % {b"at": PROXY.encode()}


@pytest.mark.parametrize("content_type", ["text/plain", "application/javascript", "application/json"])
async def test_only_pages_are_rewritten(front: Front, content_type: str) -> None:
    front.backend.answer = Response(200, {"Content-Type": content_type}, PAGE)
    assert (await front.send("GET", f"{PROXY}/docs/")).body == PAGE


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("/login?next=%2F", f"{PROXY}/login?next=%2F"),
        ("/", f"{PROXY}/"),
        ("next", "next"),
        ("https://other.example/x", "https://other.example/x"),
        ("//other.example/x", "//other.example/x"),
        (f"{PROXY}/there", f"{PROXY}/there"),
        (f"{PROXY}x/there", f"{PROXY}{PROXY}x/there"),
        ("//[bad", "//[bad"),
    ],
)
def test_a_redirect_on_the_same_host_stays_below_the_proxy(link: str, told: str) -> None:
    assert Rewriting(PROXY, frozenset(("127.0.0.1:1",))).link(link) == told


async def test_a_tag_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "TAG_BYTES_MAX", 100)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"<" + b"a" * 20

    sizes = [len(piece) async for piece in Rewriting(PROXY, frozenset()).streamed(pieces())]
    assert sum(sizes) == 50 * 21 and max(sizes) < 150


# --- X01-X10: whose requests go where ---------------------------------------------------------------------------------

CREDENTIALS = {
    "authorization": "Bearer canary", "cookie": "session=canary", "x_remote_user": "canary", "x_remote_group": "canary",
    "x_remote_extra_scope": "canary", "impersonate_user": "canary", "impersonate_extra_x": "canary",
    "sec_websocket_protocol": f"base64url.bearer.authorization.k8s.io.{base64.urlsafe_b64encode(b'canary').decode()}, v4",
}  # fmt: skip


async def test_nothing_that_a_client_vouches_with_reaches_the_server_behind(front: Front) -> None:
    await front.send("GET", f"{PROXY}/x", **CREDENTIALS)
    [asked] = front.backend.asked
    assert "canary" not in repr(asked.headers) and "Y2FuYXJ5" not in repr(asked.headers)
    assert asked.headers["sec-websocket-protocol"] == "v4"


async def test_without_that_defence_the_token_would_arrive(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "OURS", ("host", "content-length"))
    await front.send("GET", f"{PROXY}/x", authorization="Bearer canary")
    assert front.backend.asked[0].headers["authorization"] == "Bearer canary"


OWN = [
    "127.0.0.1",
    "::1",
    "169.254.169.254",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "::ffff:127.0.0.1",
    "fe80::1",
    "localhost",
]


@pytest.mark.parametrize("address", OWN)
async def test_no_address_in_a_status_leads_to_this_machine_or_its_link(front: Front, address: str) -> None:
    await front.pod_at(address)
    for path in (f"{PODS}/p/proxy/x", f"{PODS}/p:{front.behind.port}/proxy/x", f"{PODS}/https:p:443/proxy/"):
        assert (await front.send("GET", path)).status == 400
    assert not front.backend.asked


@pytest.mark.parametrize("address", OWN)
async def test_no_endpoint_leads_there_either(front: Front, endpoints_anywhere: None, address: str) -> None:
    """Also where a pod has that address."""
    made = await serving_pod(front, HERE, address=address)
    answer = await front.send("GET", f"{SERVICES}/s/proxy/x")
    assert (made, answer.status) in ((201, 400), (422, 404)) and not front.backend.asked


async def test_without_that_defence_the_canary_is_reached(front: Front, reachable: None) -> None:
    await front.pod_at("127.0.0.1")
    assert (await front.send("GET", f"{PODS}/p/proxy/x")).status == 200
    assert front.backend.asked


async def test_a_node_cannot_lead_to_another_port_of_this_machine(front: Front) -> None:
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}
    await front.api.patch("/api/v1/nodes/n1/status", {"status": status})
    assert (await front.send("GET", f"/api/v1/nodes/n1:{front.behind.port}/proxy/x")).status == 400
    assert not front.backend.asked


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_told_to_the_client_and_never_followed(front: Front, status: int) -> None:
    front.backend.answer = Response(status, {"Location": f"http://127.0.0.1:{front.behind.port + 1}/x"}, b"")
    answer = await front.send("GET", f"{PROXY}/x")
    assert (answer.status, len(front.backend.asked)) == (status, 1)
    asked = Request("GET", f"{PROXY}/x", "", {"connection": "Upgrade", "upgrade": "websocket"})
    response, connection = await front.client.upgrade(asked)
    assert (response.status, connection) == (status, None)
    assert len(front.backend.asked) == 2


async def test_what_cannot_be_reached_is_told_without_what_it_said(front: Front, reachable: None) -> None:
    await front.pod_at("127.0.0.1", 1)
    answer = await front.send("GET", f"{PODS}/p/proxy/x")
    assert answer.status == 503
    assert json.loads(answer.body)["kind"] == "Status"


async def followed(client: Client, request: Request) -> Response:
    response = await pass_on(client, request)
    return await pass_on(client, request) if "location" in response.headers else response


async def believed(client: Client, request: Request, protocol: str) -> Response:
    return Upgrade(101, {"Connection": "Upgrade", "Upgrade": protocol}, takeover=echo)


CONNECTIONS = "kybern.apiserver.connections"
PROVEN: list[tuple[Callable[..., Awaitable[None]], tuple[object, ...], str, object]] = [
    (test_no_address_in_a_status_leads_to_this_machine_or_its_link, ("127.0.0.1",), f"{CONNECTIONS}.proxy.check_host", lambda host: None),
    (test_no_endpoint_leads_there_either, (None, "127.0.0.1"), f"{CONNECTIONS}.proxy.check_host", lambda host: None),
    (test_a_node_cannot_lead_to_another_port_of_this_machine, (), f"{CONNECTIONS}.proxy.check_host", lambda host: None),
    (test_endpoints_that_are_no_pods_are_not_proxied_to, (None, None, None), f"{CONNECTIONS}.proxy.Proxy._is_pods", lambda *_: True),
    (test_a_redirect_is_told_to_the_client_and_never_followed, (302,), f"{CONNECTIONS}.passing.pass_on", followed),
    (test_an_upgrade_goes_through_and_a_refused_one_is_over, (), f"{CONNECTIONS}.passing.pass_upgrade", believed),
    (test_nothing_that_a_client_vouches_with_reaches_the_server_behind, (), f"{CONNECTIONS}.passing.OUR_PREFIXES", ()),
    (test_nothing_that_a_client_vouches_with_reaches_the_server_behind, (), f"{CONNECTIONS}.passing.TOKEN_PROTOCOL", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "values", "defence", "mutant"), PROVEN)
async def test_without_its_defence_the_row_fails(
    front: Front,
    endpoints_anywhere: None,
    row: Callable[..., Awaitable[None]],
    values: tuple[object, ...],
    defence: str,
    mutant: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if row is test_endpoints_that_are_no_pods_are_not_proxied_to:
        monkeypatch.setattr(proxy, "check_host", lambda host: None)
    monkeypatch.setattr(defence, mutant)
    with pytest.raises(AssertionError):
        await row(front, *values)


# --- streams over WebSocket -------------------------------------------------------------------------------------------


async def test_a_watch_over_websocket_is_an_event_a_message(front: Front) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    await front.api.post(maps, {"metadata": {"name": "a"}})
    socket = await connect(front.client, Request("GET", maps, "watch=true"), [])
    first = await socket.receive()
    assert isinstance(first, str) and json.loads(first)["object"]["metadata"]["name"] == "a"
    await front.api.post(maps, {"metadata": {"name": "b"}})
    await front.api.delete(f"{maps}/b")
    events = [json.loads(await socket.receive() or "") for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]
    await socket.close()
    storage = front.api.server.machine.storages["", "v1", "configmaps"]
    async with asyncio.timeout(5):
        while storage.cache.audience.size:
            await asyncio.sleep(0.01)


async def test_a_watch_over_websocket_ends_with_its_time(front: Front) -> None:
    socket = await connect(front.client, Request("GET", PODS, "watch=true&timeoutSeconds=1"), ["any.k8s.io"])
    assert socket.subprotocol == "any.k8s.io"
    async with asyncio.timeout(10):
        assert await socket.receive() is None
    await socket.close()


@pytest.mark.parametrize(
    ("protocols", "message"),
    [([], b"a log"), (["binary.k8s.io"], b"a log"), (["base64.binary.k8s.io"], base64.b64encode(b"a log").decode())],
)
async def test_a_log_over_websocket_comes_as_the_client_can_read_it(
    front: Front, protocols: list[str], message: bytes | str
) -> None:
    await front.pod_at("10.0.0.9")
    front.backend.answer = Response(200, {}, b"a log")
    socket = await connect(front.client, Request("GET", f"{PODS}/p/log"), protocols)
    assert await socket.receive() == message
    assert await socket.receive() is None
    await socket.close()


async def test_a_refusal_over_websocket_is_a_plain_answer(front: Front) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await connect(front.client, Request("GET", f"{PODS}/nobody/log"), [])
    assert refused.value.response.status == 404
    with pytest.raises(HandshakeRefused):
        await connect(front.client, Request("GET", f"{PODS}/nobody/log"), ["channel.k8s.io"])
