"""Gateway API in a live cluster: definitions, statuses, requests by host and path, TLS, weights, a listener of its own port; gRPC by
a route and by an Ingress, with a client and a server of others' making."""

import asyncio
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from conftest import Cluster, run, until
from packages import MOUNT, VARIABLES, VOLUME, skip_if_unfit

from kybern.web.pki import SERVER, create_ca, issue

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(os.geteuid() != 0, reason="containers need root"),
]

WEB = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: kybern.local/host
    command: [sh, -c, "mkdir -p /tmp/w; echo NAME > /tmp/w/index.html; cp -r /tmp/w/index.html /tmp/w/deep; exec python3 -m http.server -d /tmp/w 8080"]
    readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
"""
GATEWAY = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: kybern
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: own, port: 8181, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: cert}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: front}]
  hostnames: [web.example.com]
  rules:
  - matches: [{path: {value: /two}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: two, port: 80}]
  - backendRefs: [{name: one, port: 80, weight: 1}, {name: two, port: 80, weight: 1}]
"""


@pytest.fixture(scope="module")
def own(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--port", str(made.port), "--node-name", "n", "--gateway-api")
    made.kubectl("apply", "-f", "-", stdin=WEB.replace("NAME", "one") + WEB.replace("NAME", "two"))
    ca = create_ca("x", 1_790_000_000.0)
    pair = issue(ca, "web", now=1_795_000_000.0, dns_names=["*.example.com"], usages=(SERVER,))
    (made.data_dir / "ca.crt").write_bytes(ca.certificate)
    for name, content in (("crt", pair.certificate), ("key", pair.key)):
        (made.data_dir / f"tls.{name}").write_bytes(content)
    made.kubectl("create", "secret", "tls", "cert", f"--cert={made.data_dir}/tls.crt", f"--key={made.data_dir}/tls.key")
    until(lambda: "kybern" in made.kubectl("get", "gatewayclass", check=False))
    made.kubectl("apply", "-f", "-", stdin=GATEWAY)
    made.kubectl("wait", "pod/one", "pod/two", "--for=condition=Ready", "--timeout=60s")
    made.kubectl("wait", "gateway/front", "--for=condition=Programmed", "--timeout=60s")
    yield made
    made.kybern("reset", check=False)


def address(cluster: Cluster) -> str:
    return cluster.kubectl("get", "gateway", "front", "-o", "jsonpath={.status.addresses[0].value}")


def ask(url: str, host: str = "web.example.com") -> str:
    request = urllib.request.Request(url, headers={"Host": host})
    with urllib.request.urlopen(request, timeout=5, context=ssl._create_unverified_context()) as answer:
        return str(answer.read().decode().strip())


def test_requests_go_by_host_path_and_weight_on_every_port_of_the_gateway(own: Cluster) -> None:
    where = address(own)
    for port in (80, 8181):
        assert {ask(f"http://{where}:{port}/") for _ in range(30)} == {"one", "two"}
        assert {ask(f"http://{where}:{port}/two/deep") for _ in range(5)} == {"two"}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(f"http://{where}:8181/", "other.example.com")


def test_a_listener_of_https_shows_the_certificate_of_its_hosts(own: Cluster) -> None:
    context = ssl._create_unverified_context()
    with context.wrap_socket(socket.create_connection((address(own), 443)), server_hostname="web.example.com") as tls:
        assert b"*.example.com" in (tls.getpeercert(binary_form=True) or b"")


def test_whoever_asks_for_http2_gets_it_in_the_clear_and_by_tls(own: Cluster) -> None:
    where, show = address(own), ["-sk", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--max-time", "5"]
    name = ["--connect-to", f"web.example.com::{where}:"]
    for url, how, told in (
        ("http://web.example.com/two", ["--http2-prior-knowledge"], "2 200"), ("http://web.example.com/two", [], "1.1 200"),
        ("https://web.example.com/two", ["--http2"], "2 200"), ("https://web.example.com/two", ["--http1.1"], "1.1 200"),
    ):  # fmt: skip
        assert run(["curl", *show, *name, *how, url], own.environment).stdout == told


def test_statuses_say_what_is_well_and_what_is_not(own: Cluster) -> None:
    gateway = json.loads(own.kubectl("get", "gateway", "front", "-o", "json"))["status"]
    assert {each["name"]: each["attachedRoutes"] for each in gateway["listeners"]} == {"http": 1, "own": 1, "https": 1}
    patch = '{"spec":{"rules":[{"backendRefs":[{"name":"nobody","port":80}]}]}}'
    own.kubectl("patch", "httproute", "web", "--type=merge", "-p", patch)

    def reason() -> str:
        path = "{.status.parents[0].conditions[?(@.type=='ResolvedRefs')].reason}"
        return own.kubectl("get", "httproute", "web", "-o", f"jsonpath={path}")

    until(lambda: reason() == "BackendNotFound")
    with pytest.raises(urllib.error.HTTPError, match="500"):
        ask(f"http://{address(own)}/")


def test_what_no_definition_allows_is_refused(own: Cluster) -> None:
    wrong = GATEWAY.replace("port: 8181", "port: 70000")
    refused = run(["kubectl", "apply", "-f", "-"], own.environment, stdin=wrong, check=False)
    assert refused.returncode != 0 and "should be less than or equal to 65535" in refused.stderr


CALLS = """
import grpc
from concurrent.futures import ThreadPoolExecutor
def reverse(content, context):
    context.set_trailing_metadata((("said", "goodbye"),))
    return content[::-1]
def count(content, context):
    yield from (b"%d" % number for number in range(100))
def total(contents, context):
    return b"%d" % sum(len(content) for content in contents)
def talk(contents, context):
    for content in contents: yield content.upper()
def fail(content, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/t.T/Reverse": grpc.unary_unary_rpc_method_handler(reverse),
            "/t.T/Count": grpc.unary_stream_rpc_method_handler(count),
            "/t.T/Total": grpc.stream_unary_rpc_method_handler(total),
            "/t.T/Talk": grpc.stream_stream_rpc_method_handler(talk),
            "/t.T/Fail": grpc.unary_unary_rpc_method_handler(fail),
        }.get(details.method)
server = grpc.server(ThreadPoolExecutor(8), [Calls()])
server.add_insecure_port("0.0.0.0:9090")
server.start()
server.wait_for_termination()
"""
GRPC_HOST, INGRESS_HOST = "calls.example.com", "calls.example"


def calls() -> list[dict[str, Any]]:
    """A gRPC server in a pod, behind a GRPCRoute and an Ingress."""
    container = {
        "name": "c", "image": "kybern.local/host", "command": ["python3", "-c", CALLS], "env": VARIABLES,
        "volumeMounts": [MOUNT], "readinessProbe": {"tcpSocket": {"port": 9090}, "periodSeconds": 1},
    }  # fmt: skip
    port = {"name": "grpc", "port": 90, "targetPort": 9090, "appProtocol": "kubernetes.io/h2c"}
    backend = {"service": {"name": "calls", "port": {"name": "grpc"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    rules = [{"backendRefs": [{"name": "calls", "port": 90}], "matches": [{"method": {"service": "t.T"}}]}]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "calls", "labels": {"app": "calls"}},
         "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], "volumes": [VOLUME]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "calls"},
         "spec": {"selector": {"app": "calls"}, "ports": [port]}},
        {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GRPCRoute", "metadata": {"name": "calls"},
         "spec": {"parentRefs": [{"name": "front"}], "hostnames": [GRPC_HOST], "rules": rules}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "calls"},
         "spec": {"rules": [{"host": INGRESS_HOST, "http": {"paths": paths}}]}},
    ]  # fmt: skip


async def test_grpc_calls_of_every_kind_reach_a_pod_by_a_route_and_by_an_ingress(own: Cluster) -> None:
    skip_if_unfit()
    items = {"apiVersion": "v1", "kind": "List", "items": calls()}
    own.kubectl("apply", "-f", "-", stdin=json.dumps(items))
    own.kubectl("wait", "pod/calls", "--for=condition=Ready", "--timeout=60s")
    where = address(own)
    trusted = grpc.ssl_channel_credentials((own.data_dir / "ca.crt").read_bytes())
    for host, port, credentials in ((GRPC_HOST, 80, None), (INGRESS_HOST, 80, None), (GRPC_HOST, 443, trusted)):
        options = [("grpc.default_authority", host), ("grpc.ssl_target_name_override", host)]
        opened = (
            grpc.aio.secure_channel(f"{where}:{port}", credentials, options)
            if credentials
            else grpc.aio.insecure_channel(f"{where}:{port}", options)
        )
        async with opened as channel:
            await until_served(channel)
            await all_kinds(channel)


async def until_served(channel: grpc.aio.Channel) -> None:
    """While an endpoint, a route or a certificate is not known yet, the proxy says so."""
    async with asyncio.timeout(30):
        while True:
            try:
                assert await channel.unary_unary("/t.T/Reverse")(b"abc", wait_for_ready=True) == b"cba"
            except grpc.aio.AioRpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNIMPLEMENTED), error
                await asyncio.sleep(0.1)
            else:
                return


async def all_kinds(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary("/t.T/Reverse")(bytes(2_000_000))
    assert await call == bytes(2_000_000) and dict(await call.trailing_metadata())["said"] == "goodbye"
    assert [piece async for piece in channel.unary_stream("/t.T/Count")(b"")] == [b"%d" % n for n in range(100)]
    assert await channel.stream_unary("/t.T/Total")(iter([bytes(70_000)] * 10)) == b"700000"
    talk = channel.stream_stream("/t.T/Talk")()
    for word in (b"one", b"two"):  # the next is said once the last was answered
        await talk.write(word)
        assert await talk.read() == word.upper()
    await talk.done_writing()
    assert await talk.read() == grpc.aio.EOF
    with pytest.raises(grpc.aio.AioRpcError, match="no such thing") as failed:
        await channel.unary_unary("/t.T/Fail")(b"")
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channel.unary_unary("/other.T/Reverse")(b"")
    assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_port_is_closed_when_its_listener_goes(own: Cluster) -> None:
    where = address(own)
    own.kubectl("delete", "gateway", "front")

    def closed() -> bool:
        try:
            ask(f"http://{where}:8181/")
        except urllib.error.HTTPError:
            return False
        except OSError:
            return True
        return False

    until(closed)
