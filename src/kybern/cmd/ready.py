"""Waiting until a cluster can be used: the API answers, the node is Ready, names resolve. Each is looked at, not assumed."""

import asyncio
import math
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kybern.aio.clock import from_rfc3339
from kybern.aio.timeouts import timeout
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Node
from kybern.api.errors import ApiError
from kybern.client import Client
from kybern.cmd import running
from kybern.cmd.config import CLUSTER_DOMAIN, Cluster
from kybern.cmd.credentials import ADMIN, Identity, node
from kybern.cmd.place import first, places
from kybern.network.dns.forward import over_udp
from kybern.network.dns.message import Type, query
from kybern.web import client as web_client
from kybern.web.http import Request
from kybern.web.pki import read_certificate, read_pair
from kybern.web.tls import client_context

LOOK_AGAIN_SECONDS = 0.02
DNS_SECONDS = 0.5
CONNECTIONS_MAX = 128  # kept: a burst of writes must not pay for a handshake each
NEVER = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    reached: Callable[[], Awaitable[bool]]


def trusted(cluster: Cluster, identity: Identity | None) -> ssl.SSLContext:
    """TLS to the cluster's own servers, as this identity; None shows no certificate."""
    ca = read_certificate(cluster.pki, "ca")
    pair = read_pair(cluster.pki, identity.file) if identity else None
    if ca is None or (identity and pair is None):
        raise FileNotFoundError(f"{cluster.pki} lacks a certificate")
    return client_context(ca=ca, certificate=pair.certificate if pair else None, key=pair.key if pair else None)


def transport(cluster: Cluster, identity: Identity | None, url: str = "") -> web_client.Client:
    """Connections to the API server, this machine's unless it has joined another's."""
    return web_client.Client(
        url or cluster.local_url,
        ssl=trusted(cluster, identity),
        idle_connections_max=CONNECTIONS_MAX,
    )


def started(cluster: Cluster) -> float:
    """When the supervisor did, seconds since 1970."""
    known = running.status(cluster.control_socket)
    return known["started"] if known else math.inf


def steps(cluster: Cluster, connections: web_client.Client) -> list[Step]:
    async def api_answers() -> bool:
        answer = await connections.send(Request("GET", "/readyz"))
        return answer.status == 200

    async def nodes_are_ready() -> bool:
        client, since = Client(connections), started(cluster)
        return all([await node_is_ready(client, place.name, since) for place in places(cluster) if not place.off])

    async def dns_answers() -> bool:
        name = f"kubernetes.default.svc.{CLUSTER_DOMAIN}".encode()
        async with timeout(DNS_SECONDS):
            kind = Type.AAAA if cluster.api_service_address.version == 6 else Type.A
            reply = await over_udp(query(name, random.SystemRandom().getrandbits(16), kind), dns_server(cluster))
        return reply[6:8] != b"\0\0"  # it holds at least one answer

    ready = "nodes are Ready" if cluster.further_nodes else "node is Ready"
    first = [Step("API server answers", api_answers), Step(ready, nodes_are_ready)]
    return first if cluster.simulated else [*first, Step("DNS answers", dns_answers)]


def dns_server(cluster: Cluster) -> str:
    """By its Service, so that the proxy is seen to work too; the first node's own, where somebody else's proxy does that."""
    return str(first(cluster).address if cluster.service_proxy == "none" else cluster.dns_address)


async def node_is_ready(client: Client, name: str, since: float) -> bool:
    """By its own word, given after `since`."""
    lease = await client.get(Lease, name, "kube-node-lease")
    if from_rfc3339(lease.spec.renew_time or NEVER) < since:
        return False
    node = await client.get(Node, name)
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or ())


async def wait(cluster: Cluster, seconds: float, reached: Callable[[str, float], None]) -> str:
    """Tells `reached` of every step with the seconds it took from now. Returns the step that was not reached, or ""."""
    started = time.monotonic()
    connections = transport(cluster, node(cluster.node_name) if cluster.joined else ADMIN)
    try:
        for step in steps(cluster, connections):
            while not await holds(step):
                if time.monotonic() - started > seconds:
                    return step.name
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            reached(step.name, time.monotonic() - started)
        return ""
    finally:
        connections.close()


async def holds(step: Step) -> bool:
    try:
        return await step.reached()
    except (OSError, ApiError, TimeoutError):
        return False  # not yet: what is being waited for includes whatever failed here
