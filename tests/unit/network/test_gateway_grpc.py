"""GRPCRoutes: which calls they match, what is said of them, and calls by a gRPC client and server of others' making."""

import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from msgspec import convert

from kybern.aio.clock import SystemClock
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.network.gateway.grpc import as_http
from kybern.network.gateway.objects import Gateway, GatewayClass, GRPCRoute
from kybern.network.gateway.programme import Programme, World, programme
from kybern.network.gateway.proxy import GatewayProxy
from kybern.network.gateway.routing import asked
from kybern.network.gateway.status import CONTROLLER
from kybern.network.ingress.carrying import Carrier
from kybern.network.ingress.routing import Backends
from kybern.web.server import serve
from kybern.web.tls import client_context

CLASS = convert({"metadata": {"name": "kybern"}, "spec": {"controllerName": CONTROLLER}}, GatewayClass)


def route(*matches: dict[str, Any], **rule: Any) -> GRPCRoute:
    rules = [{"matches": list(matches), "backendRefs": [{"name": "a", "port": 80}], **rule}]
    spec = {"parentRefs": [{"name": "g"}], "hostnames": ["x.io"], "rules": rules}
    return convert({"metadata": {"name": "r", "namespace": "d", "uid": "r", "generation": 1}, "spec": spec}, GRPCRoute)


def made(route: GRPCRoute, port: int = 8080, **listener: Any) -> Programme:
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP", **listener}]
    meta = {"name": "g", "namespace": "d", "uid": "g", "generation": 1}
    gateway = convert({"metadata": meta, "spec": {"gatewayClassName": "kybern", "listeners": listeners}}, Gateway)
    ports = [{"name": "grpc", "port": 80}]
    service = from_builtins(Service, {"metadata": {"name": "a", "namespace": "d"}, "spec": {"ports": ports}})
    piece = from_builtins(EndpointSlice, {
        "metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": [{"name": "grpc", "port": port, "protocol": "TCP"}],
    })  # fmt: skip
    backends = Backends({("d", "a"): service}, {("d", "a"): [piece]})
    world = World([CLASS], [gateway], [as_http(route)], (), {"d": {}}, backends, ("10.106.0.1",))
    return programme(world, lambda secret: True, 1_790_000_000.0)


@pytest.mark.parametrize(
    ("method", "calls", "others"),
    [
        ({"service": "p.S", "method": "M"}, ["/p.S/M"], ["/p.S/N", "/p.T/M", "/p.S/M/x"]),
        ({"service": "p.S"}, ["/p.S/M", "/p.S/N"], ["/p.Sx/M"]),
        ({"method": "M"}, ["/p.S/M", "/q/M"], ["/p.S/N", "/p.S/MM"]),
        ({"type": "RegularExpression", "service": "p[.].*", "method": "M|N"}, ["/p.S/M", "/p.S/N"], ["/q.S/M", "/p.S/MN"]),
        ({"type": "RegularExpression", "method": "M.*"}, ["/p.S/Mx"], ["/p.S/N"]),
        ({}, ["/p.S/M"], []),
    ],
)  # fmt: skip
def test_a_method_is_matched_as_the_specification_says(
    method: dict[str, Any], calls: list[str], others: list[str]
) -> None:
    hosts = made(route({"method": method})).ports[80]
    for path in calls:
        assert hosts.find("x.io", asked(path, "", "POST", {})) is not None, path
    for path in others:
        assert hosts.find("x.io", asked(path, "", "POST", {})) is None, path


def test_headers_matter_a_rule_without_matches_takes_all_and_backends_are_spoken_to_by_http2() -> None:
    hosts = made(route({"headers": [{"name": "who", "value": "me"}]})).ports[80]
    assert hosts.find("x.io", asked("/p.S/M", "", "POST", {})) is None
    found = hosts.find("x.io", asked("/p.S/M", "", "POST", {"who": "me"}))
    assert found is not None and found.backends[0].target is not None and found.backends[0].target.speaks == "h2c"
    assert made(route()).ports[80].find("x.io", asked("/p.S/M", "", "POST", {})) is not None


def test_a_listener_may_take_one_kind_of_route_only() -> None:
    found = made(route(), allowedRoutes={"kinds": [{"kind": "HTTPRoute"}]})
    [(told, status)] = found.routes
    assert told.kind == "GRPCRoute"
    assert [c.reason for c in status.parents[0].conditions if c.type == "Accepted"] == ["NotAllowedByListeners"]
    found = made(route(), allowedRoutes={"kinds": [{"kind": "GRPCRoute"}]})
    [(_, status)] = found.routes
    assert {c.type: c.status for c in status.parents[0].conditions} == {"Accepted": "True", "ResolvedRefs": "True"}
    [(_, of_gateway)] = found.gateways
    assert [kind.kind for kind in of_gateway.listeners[0].supported_kinds] == ["GRPCRoute"]
    assert of_gateway.listeners[0].attached_routes == 1


class Reversing(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def reversed_(content: bytes, context: Any) -> bytes:
            seen = dict(context.invocation_metadata())
            return content[::-1] + str(seen.get("added", "")).encode()

        return grpc.unary_unary_rpc_method_handler(reversed_) if details.method == "/p.S/M" else None


@pytest.fixture
async def port() -> AsyncIterator[int]:
    backend = grpc.aio.server()
    backend.add_generic_rpc_handlers((Reversing(),))
    number = backend.add_insecure_port("127.0.0.1:0")
    await backend.start()
    yield number
    await backend.stop(None)


async def test_a_call_goes_by_its_route_with_its_filters_and_other_calls_are_not_implemented(port: int) -> None:
    added = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "added", "value": "!"}]}}
    carrier = Carrier(random.Random(1), lambda: client_context(verify=False))
    proxy = GatewayProxy(SystemClock(), carrier)
    proxy.use(made(route({"method": {"service": "p.S", "method": "M"}}, filters=[added]), port).ports)
    front = await serve(proxy.handler(80, "http"), http2=True)
    options = [("grpc.default_authority", "x.io")]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{front.port}", options=options) as channel:
        assert await channel.unary_unary("/p.S/M")(b"abc") == b"cba!"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/p.S/Other")(b"")
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
    carrier.close()
    await front.close()
