"""The Gateway API's definitions in an API server, and the follower's statuses in its objects."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec import convert
from msgspec.structs import replace

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.errors import Invalid
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.client.view import View
from kybern.network.gateway.definitions import definitions
from kybern.network.gateway.following import GatewayFollower
from kybern.network.gateway.objects import Gateway, GatewayClass, GRPCRoute, HTTPRoute
from kybern.network.gateway.proxy import GatewayProxy
from kybern.network.gateway.status import CONTROLLER
from kybern.network.ingress.carrying import Carrier
from kybern.network.ingress.following import KINDS, IngressFollower
from kybern.network.ingress.proxy import IngressProxy
from kybern.testing.cluster import Cluster, running
from kybern.testing.virtual import run
from kybern.web.tls import client_context, server_context

CLASS = convert({"metadata": {"name": "kybern"}, "spec": {"controllerName": CONTROLLER}}, GatewayClass)
GATEWAY = convert(
    {
        "metadata": {"name": "g", "namespace": "default"},
        "spec": {"gatewayClassName": "kybern", "listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]},
    },
    Gateway,
)
ROUTE = convert(
    {
        "metadata": {"name": "r", "namespace": "default"},
        "spec": {"parentRefs": [{"name": "g"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]},
    },
    HTTPRoute,
)


async def with_definitions(cluster: Cluster) -> None:
    for definition in definitions():
        await cluster.client.create(definition)
    await asyncio.sleep(5)


@asynccontextmanager
async def followed(listen: Callable[[dict[int, bool]], Awaitable[dict[int, str]]]) -> AsyncIterator[Client]:
    """A cluster with the three objects, half a minute after a follower began to follow them."""
    async with running(nodes=()) as cluster:
        await with_definitions(cluster)
        client, clock, news = cluster.client, cluster.clock, asyncio.Event()
        view, own = View(client, clock=clock, rng=random.Random(1)), View(client, clock=clock, rng=random.Random(2))
        for kind in KINDS:
            view.watch_kind(kind)
        carrier = Carrier(random.Random(3), lambda: client_context(verify=False))
        recorder = Recorder(client, "test", "n", clock, cluster.ids)
        addresses, proxy = ["192.0.2.1"], IngressProxy(clock, carrier)
        ingress = IngressFollower(client, view, recorder, proxy, addresses, server_context, news.set)
        follower = GatewayFollower(client, own, ingress, GatewayProxy(clock, carrier), addresses, listen, clock, news)
        work = [asyncio.ensure_future(part) for part in (view.run(), own.run(), follower.run())]
        for made in (CLASS, GATEWAY, ROUTE):
            await client.create(made)
        await asyncio.sleep(30)
        yield client
        for part in work:
            part.cancel()


def test_defaults_and_bounds_of_the_definitions_hold() -> None:
    async def story() -> None:
        async with running(nodes=()) as cluster:
            await with_definitions(cluster)
            made = await cluster.client.create(GATEWAY)
            assert made.spec.listeners[0].allowed_routes.namespaces.from_ == "Same"
            bare = convert({"metadata": {"name": "x", "namespace": "default"}, "spec": {}}, HTTPRoute)
            assert (await cluster.client.create(bare)).spec.rules[0].matches[0].path.value == "/"
            [only] = GATEWAY.spec.listeners
            wrong = replace(GATEWAY, spec=replace(GATEWAY.spec, listeners=(replace(only, port=70000),)))
            with pytest.raises(Invalid, match="should be less than or equal to 65535"):
                await cluster.client.create(replace(wrong, metadata=ObjectMeta(name="w", namespace="default")))

    run(story())


def test_statuses_follow_the_objects() -> None:
    async def story() -> None:
        asked: list[dict[int, bool]] = []

        async def listen(ports: dict[int, bool]) -> dict[int, str]:
            asked.append(ports)
            return {}

        async with followed(listen) as client:
            found = await client.get(GatewayClass, "kybern")
            assert [(c.type, c.status) for c in found.status.conditions] == [("Accepted", "True")]
            gateway = await client.get(Gateway, "g", "default")
            assert [address.value for address in gateway.status.addresses] == ["192.0.2.1"]
            assert gateway.status.listeners[0].attached_routes == 1 and asked[-1] == {8080: False}
            route = await client.get(HTTPRoute, "r", "default")
            assert [(c.type, c.reason) for c in route.status.parents[0].conditions] == [
                ("Accepted", "Accepted"), ("ResolvedRefs", "BackendNotFound"),
            ]  # fmt: skip
            ports = (ServicePort(name="http", port=80),)
            await client.create(
                Service(metadata=ObjectMeta(name="web", namespace="default"), spec=ServiceSpec(ports=ports))
            )
            await asyncio.sleep(30)
            route = await client.get(HTTPRoute, "r", "default")
            assert route.status.parents[0].conditions[1].reason == "ResolvedRefs"
            calls = {"metadata": {"name": "r", "namespace": "default"}, "spec": {"parentRefs": [{"name": "g"}]}}
            await client.create(convert(calls, GRPCRoute))
            await asyncio.sleep(30)
            told = await client.get(GRPCRoute, "r", "default")
            assert told.status.parents[0].conditions[0].reason == "Conflicted", "the older route has all hosts"
            await client.delete(HTTPRoute, "r", "default")
            await asyncio.sleep(30)
            told = await client.get(GRPCRoute, "r", "default")
            assert [(c.type, c.status) for c in told.status.parents[0].conditions] == [
                ("Accepted", "True"), ("ResolvedRefs", "True"),
            ]  # fmt: skip
            await client.delete(Gateway, "g", "default")
            await asyncio.sleep(30)
            assert (await client.get(GRPCRoute, "r", "default")).status.parents == ()
            assert (await client.get(GRPCRoute, "r", "default")).status.parents == () and asked[-1] == {}

    run(story())


def test_a_port_that_somebody_else_has_is_tried_again_until_it_is_free() -> None:
    async def story() -> None:
        taken = {8080: "port 8080 cannot be listened on: Address already in use"}

        async def listen(ports: dict[int, bool]) -> dict[int, str]:
            return {port: why for port, why in taken.items() if port in ports}

        async def accepted(client: Client) -> str:
            [listener] = (await client.get(Gateway, "g", "default")).status.listeners
            return next(c.reason for c in listener.conditions if c.type == "Accepted")

        async with followed(listen) as client:
            assert await accepted(client) == "PortUnavailable"
            taken.clear()
            await asyncio.sleep(30)
            assert await accepted(client) == "Accepted"

    run(story())
