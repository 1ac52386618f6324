"""Logs, exec, port-forward and proxies: passed through to a kubelet, or to what runs in the cluster."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kybern.aio.ids import Ids
from kybern.api.errors import BadRequest
from kybern.apiserver.connections.kubelets import Address, Kubelets
from kybern.apiserver.connections.places import check_host, taken_apart
from kybern.apiserver.connections.pod_log import PodLog
from kybern.apiserver.connections.pod_streams import PodStreams
from kybern.apiserver.connections.proxy import Proxy
from kybern.apiserver.dispatch import Dispatch
from kybern.apiserver.layers.authenticate import AuthenticateLayer
from kybern.web.client import Client
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.server import serve

PODS = "/api/v1/namespaces/default/pods"


class Kubelet:
    """Answers with what it was asked; an upgrade echoes."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.status = 200

    async def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        if "upgrade" in request.headers:
            return Upgrade(101, {"Connection": "Upgrade", "Upgrade": request.headers["upgrade"]}, takeover=echo)
        return Response(
            self.status, {"Content-Type": "text/plain", "X-Of": "backend"}, f"{request.path}?{request.query}".encode()
        )


async def echo(connection: Connection) -> None:
    while data := await connection.receive():
        await connection.send(data.upper())
    connection.close()


class PlainKubelets(Kubelets):
    """Over HTTP, to the one kubelet of the test."""

    def __init__(self, objects: Any, port: int) -> None:
        super().__init__(objects, ssl.create_default_context())
        self.port = port

    def client(self, address: Address) -> Client:
        return Client(f"http://127.0.0.1:{self.port}")


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
async def front(api: Any, kubelet: Kubelet) -> AsyncIterator[Client]:
    """The API on a socket, in front of a kubelet on another."""
    behind = await serve(kubelet)
    kubelets = PlainKubelets(api.objects, behind.port)
    streams, proxy = PodStreams(api.objects, kubelets), Proxy(api.objects, kubelets, Ids(1))
    dispatch = dispatch_of(api.server)
    dispatch.connections = {
        "pods/log": PodLog(api.objects, kubelets),
        "pods/exec": streams.exec,
        "pods/portforward": streams.port_forward,
        "pods/proxy": proxy.pod,
        "services/proxy": proxy.service,
        "nodes/proxy": proxy.node,
    }
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    await api.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    await api.patch("/api/v1/nodes/n1/status", {"status": status})
    listener = await serve(api.server)
    async with Client(f"http://127.0.0.1:{listener.port}") as client:
        yield client
    await listener.close()
    await behind.close()


def dispatch_of(server: Any) -> Dispatch:
    layer = server.first
    assert isinstance(layer, AuthenticateLayer)
    while not isinstance(layer, Dispatch):
        layer = layer.next
    return layer


async def make_pod(api: Any, *containers: str, node: str = "n1") -> None:
    spec = {"containers": [{"name": name, "image": "i"} for name in containers], "nodeName": node or None}
    answer = await api.post(PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert answer.status == 201, answer.body


async def test_a_log_is_the_kubelets(api: Any, front: Client, kubelet: Kubelet) -> None:
    await make_pod(api, "c")
    response = await front.send(Request("GET", f"{PODS}/p/log", "tailLines=5&follow=true&timestamps=false"))
    assert response.status == 200
    assert await response.read() == b"/containerLogs/default/p/c?follow=true&tailLines=5"


async def test_a_log_needs_to_know_which_container(api: Any, front: Client) -> None:
    await make_pod(api, "a", "b")
    answer = await api.get(f"{PODS}/p/log")
    assert (answer.status, answer.message) == (
        400, "a container name must be specified for pod p, choose one of: [a b]",
    )  # fmt: skip
    answer = await api.get(f"{PODS}/p/log?container=x")
    assert (answer.status, answer.message) == (400, "container x is not valid for pod p")


async def test_log_options_are_checked(api: Any, front: Client) -> None:
    await make_pod(api, "c")
    for query in ("tailLines=-1", "sinceSeconds=0", "limitBytes=0", "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z"):
        answer = await api.get(f"{PODS}/p/log?{query}")
        assert (answer.status, answer.body["reason"]) == (422, "Invalid"), query


async def test_the_log_of_a_pod_without_a_node_is_empty(api: Any, front: Client) -> None:
    await make_pod(api, "c", node="")
    answer = await api.get(f"{PODS}/p/log")
    assert (answer.status, answer.raw) == (200, b"")


async def test_what_the_kubelet_refuses_is_a_status(api: Any, front: Client, kubelet: Kubelet) -> None:
    await make_pod(api, "c")
    kubelet.status = 400
    answer = await api.get(f"{PODS}/p/log")
    assert (answer.status, answer.body["kind"], answer.body["reason"]) == (400, "Status", "BadRequest")


async def test_exec_passes_bytes_both_ways(api: Any, front: Client, kubelet: Kubelet) -> None:
    await make_pod(api, "c")
    headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "authorization": "Bearer secret"}
    query = "command=ls&command=-l&stdin=true&stdout=true&tty=false"
    response, connection = await front.upgrade(Request("POST", f"{PODS}/p/exec", query, headers))
    assert response.status == 101
    assert connection is not None
    await connection.send(b"hello")
    assert await connection.receive() == b"HELLO"
    connection.close()
    asked = kubelet.asked[-1]
    assert (asked.path, asked.query) == ("/exec/default/p/c", "command=ls&command=-l&input=1&output=1&error=1")
    assert "authorization" not in asked.headers


async def test_the_ports_that_are_forwarded_are_numbers(api: Any, front: Client, kubelet: Kubelet) -> None:
    await make_pod(api, "c")
    headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
    url = f"{PODS}/p/portforward"
    response, connection = await front.upgrade(Request("POST", url, "ports=80,0443&ports=65535", headers))
    assert response.status == 101 and connection is not None
    connection.close()
    assert kubelet.asked[-1].query == "port=80&port=443&port=65535"
    for text, why in (("http", "invalid syntax"), ("65536", "value out of range"), ("9" * 5000, "value out of range")):
        answer = await api.get(f"{url}?ports={text}")
        told = f'cannot convert to []int32: strconv.ParseUint: parsing "{text}": {why}'
        assert (answer.status, answer.message) == (400, told)
    assert len(kubelet.asked) == 1


async def test_exec_without_an_upgrade_is_refused(api: Any, front: Client) -> None:
    await make_pod(api, "c")
    answer = await api.post(f"{PODS}/p/exec?command=ls", b"")
    assert (answer.status, answer.message) == (400, "Upgrade request required")


async def test_exec_in_a_pod_without_a_node_is_refused(api: Any, front: Client) -> None:
    await make_pod(api, "c", node="")
    answer = await api.post(f"{PODS}/p/exec?command=ls", b"")
    assert (answer.status, answer.message) == (400, "pod p does not have a host assigned")


async def test_exec_in_no_pod_is_not_found(api: Any, front: Client) -> None:
    assert (await api.post(f"{PODS}/p/exec?command=ls", b"")).status == 404


async def test_a_kubelet_that_is_not_there_is_an_error(api: Any, front: Client) -> None:
    await make_pod(api, "c", node="n9")
    answer = await api.get(f"{PODS}/p/log")
    assert (answer.status, answer.body["reason"]) == (500, "InternalError")


async def test_a_simulated_node_has_no_kubelet_to_ask(api: Any, front: Client, kubelet: Kubelet) -> None:
    metadata = {"name": "sim", "annotations": {"kybern.io/simulated": "true"}}
    await api.post("/api/v1/nodes", {"metadata": metadata})
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    await api.patch("/api/v1/nodes/sim/status", {"status": status})
    await make_pod(api, "c", node="sim")
    answer = await api.get(f"{PODS}/p/log")
    assert answer.status == 500 and 'node "sim" is simulated' in answer.body["message"]
    assert not kubelet.asked


async def test_a_node_is_proxied_to_its_kubelet(api: Any, front: Client) -> None:
    response = await front.send(Request("GET", "/api/v1/nodes/n1/proxy/stats/summary", "a=b"))
    assert (response.status, await response.read()) == (200, b"/stats/summary?a=b")
    assert response.headers["x-of"] == "backend"


async def test_a_proxy_path_without_an_end_is_redirected(api: Any, front: Client) -> None:
    answer = await api.get("/api/v1/nodes/n1/proxy")
    assert (answer.status, answer.headers["Location"]) == (301, "/api/v1/nodes/n1/proxy/")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "224.0.0.1", "", "localhost"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:0", "fe80::1%lo"),
    ],
)
async def test_a_pod_cannot_be_made_to_point_at_the_server(api: Any, front: Client, address: str) -> None:
    with pytest.raises(BadRequest, match="address not allowed"):
        check_host(address)
    await make_pod(api, "c")
    await api.patch(f"{PODS}/p/status", {"status": {"podIP": address}})
    answer = await api.get(f"{PODS}/p/proxy/")
    assert answer.status == 400


async def test_a_service_without_endpoints_is_unavailable(api: Any, front: Client) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.9"}}
    assert (await api.post("/api/v1/namespaces/default/services", service)).status == 201
    answer = await api.get("/api/v1/namespaces/default/services/s/proxy/")
    assert (answer.status, answer.message) == (404, 'endpoints "s" not found')
    endpoints = {"metadata": {"name": "s"}}
    assert (await api.post("/api/v1/namespaces/default/endpoints", endpoints)).status == 201
    answer = await api.get("/api/v1/namespaces/default/services/s/proxy/")
    assert (answer.status, answer.message) == (503, 'no endpoints available for service "s"')


def test_a_proxied_name_has_a_scheme_and_a_port() -> None:
    assert taken_apart("https:web:8443", "pod").scheme == "https"
    assert taken_apart("web:http", "pod").port == "http"
    assert taken_apart("web", "pod").port == ""
    for wrong in ("gopher:web:1", ":80", "a:b:c:d"):
        with pytest.raises(BadRequest, match=f'invalid node request "{wrong}"'):
            taken_apart(wrong, "node")


async def test_opening_a_shell_is_authorized_as_creating(api: Any) -> None:
    for method in ("GET", "POST"):
        request = api.server.understand(Request(method, f"{PODS}/p/exec", "command=ls"))
        assert (request.attributes.verb, request.attributes.subresource) == ("create", "exec")
