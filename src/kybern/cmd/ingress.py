"""The ingress process: names and paths from outside to Services, on the first node's address, by Ingresses and HTTPRoutes."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable

import uvloop

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.errors import AlreadyExists, ApiError
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.networking_v1 import IngressClass, IngressClassSpec
from kybern.client import Client
from kybern.client.events import Recorder
from kybern.client.view import View
from kybern.cmd import credentials
from kybern.cmd.config import Cluster
from kybern.cmd.gate import port_of_machine
from kybern.cmd.ready import transport
from kybern.cmd.stopping import until_stopped
from kybern.network.gateway.following import GatewayFollower
from kybern.network.gateway.listening import Ports
from kybern.network.gateway.objects import ClassSpec, GatewayClass
from kybern.network.gateway.proxy import GatewayProxy
from kybern.network.gateway.status import CONTROLLER as GATEWAY_CONTROLLER
from kybern.network.ingress.carrying import Carrier
from kybern.network.ingress.following import CONTROLLER, KINDS, IngressFollower
from kybern.network.ingress.proxy import IngressProxy
from kybern.network.machine_ports import MachinePorts, Port
from kybern.web.http import Handler
from kybern.web.pki import read_pair
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context

CLASS = "kybern"
INGRESS_CLASS = IngressClass(
    metadata=ObjectMeta(name=CLASS, annotations={"ingressclass.kubernetes.io/is-default-class": "true"}),
    spec=IngressClassSpec(controller=CONTROLLER),
)
GATEWAY_CLASS = GatewayClass(metadata=ObjectMeta(name=CLASS), spec=ClassSpec(controller_name=GATEWAY_CONTROLLER))
HTTP_PORT, HTTPS_PORT = 80, 443
RETRY_SECONDS = 1.0
BUSY_SECONDS = 5.0
TIDY_SECONDS = 30.0

log = logging.getLogger(__name__)


def main(cluster: Cluster) -> None:
    uvloop.run(run(cluster))


async def run(cluster: Cluster) -> None:
    clock, ids = SystemClock(), Ids()
    client = Client(transport(cluster, credentials.INGRESS))
    view = View(client, clock=clock, rng=ids.rng)
    for kind in KINDS:
        view.watch_kind(kind)
    recorder = Recorder(client, "kybern-ingress", cluster.node_name, clock, ids)
    addresses = list(map(str, cluster.gateways))
    carrier = Carrier(ids.rng, lambda: client_context(verify=False))
    proxy, gateways = IngressProxy(clock, carrier), GatewayProxy(clock, carrier)
    news = asyncio.Event()
    follower = IngressFollower(client, view, recorder, proxy, addresses, certified, news.set)

    def handler(port: int, secure: bool) -> Handler:
        otherwise = {HTTP_PORT: proxy.plain, HTTPS_PORT: proxy.secure}.get(port)
        return gateways.handler(port, "https" if secure else "http", otherwise)

    def context(port: int) -> ssl.SSLContext:
        return by_name(cluster, lambda name: routed.context_for(port, name) or follower.context_for(name))

    ports = Ports(addresses, {HTTP_PORT: False, HTTPS_PORT: True}, handler, context)
    of_gateways = View(client, clock=clock, rng=ids.rng)
    routed = GatewayFollower(client, of_gateways, follower, gateways, addresses, ports.become, clock, news)
    async with asyncio.TaskGroup() as tasks:
        work = [view.run(), recorder.run(), follow(client, view, follower, clock), gateways.run()]
        work.append(tidy(carrier, proxy, gateways, clock))
        if cluster.gateway_api:
            work += [of_gateways.run(), route(client, view, routed, clock)]
        for address in addresses:
            work.append(listen(handler(HTTP_PORT, False), address, HTTP_PORT, None, clock))
            work.append(listen(handler(HTTPS_PORT, True), address, HTTPS_PORT, context(HTTPS_PORT), clock))
        if cluster.rootless:
            work.append(lead_in(cluster, view, clock))
        running = [tasks.create_task(part) for part in work]
        await until_stopped()
        for task in running:
            task.cancel()
    await ports.close()
    carrier.close()


async def lead_in(cluster: Cluster, view: View, clock: SystemClock) -> None:
    """From the machine's own network, which is not the cluster's."""

    def of_machine(port: Port) -> socket.socket:
        return port_of_machine(cluster.gate_socket, port.kind, "127.0.0.1", port.number)

    await view.synced()
    own = (Port("tcp", HTTP_PORT), Port("tcp", HTTPS_PORT))
    await MachinePorts(view, of_machine, str(cluster.node_address), own, clock).run()


async def tidy(carrier: Carrier, proxy: IngressProxy, gateways: GatewayProxy, clock: SystemClock) -> None:
    """Connections to backends that are gone end when they are done."""
    while True:
        await clock.sleep(TIDY_SECONDS)
        carrier.keep([*proxy.targets(), *gateways.targets()])


async def route(client: Client, view: View, follower: GatewayFollower, clock: SystemClock) -> None:
    await ensure(client, GATEWAY_CLASS, clock)
    await view.synced()
    await follower.run()


async def listen(handler: Handler, address: str, port: int, tls: ssl.SSLContext | None, clock: SystemClock) -> None:
    """Until cancelled; another program on the port is waited for, and said."""
    said = False
    while True:
        try:
            listener = await serve(handler, host=address, port=port, ssl=tls, http2=True)
            break
        except OSError as error:
            if not said:
                log.error("%s:%d cannot be listened on, tried again until it can: %s", address, port, error)
            said = True
            await clock.sleep(BUSY_SECONDS)
    try:
        await asyncio.Event().wait()
    finally:
        await listener.close()


async def follow(client: Client, view: View, follower: IngressFollower, clock: SystemClock) -> None:
    # Ours is the default one, unless there is a class already: then somebody has chosen.
    await ensure(client, INGRESS_CLASS, clock, alone=True)
    await view.synced()
    await follower.run()


async def ensure(
    client: Client, wanted: IngressClass | GatewayClass, clock: SystemClock, *, alone: bool = False
) -> None:
    """Once the API server answers and knows the kind. `alone`: only where there is none of its kind yet."""
    while True:
        try:
            if not (alone and await client.list(type(wanted))):
                with contextlib.suppress(AlreadyExists):
                    await client.create(wanted)
            return
        except ApiError as error:
            log.info("%s %s is made later: %s", wanted.kind, CLASS, error.message)
            await clock.sleep(RETRY_SECONDS)


def certified(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """Whichever of them the name chooses must offer the same."""
    return server_context(certificate, key, http2=True)


def by_name(cluster: Cluster, context_for: Callable[[str | None], ssl.SSLContext | None]) -> ssl.SSLContext:
    """The certificate is chosen by the name that the client asks for; the cluster's own where there is none for it."""
    pair = read_pair(cluster.pki, "ingress-server")
    assert pair is not None, "credentials.prepare made it"
    context = certified(pair.certificate, pair.key)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        found = context_for(name)
        if found is not None:
            connection.context = found

    context.sni_callback = choose
    return context
