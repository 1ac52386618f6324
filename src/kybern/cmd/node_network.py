"""A node's network: the ways to other nodes, the service proxy, cluster DNS. All read one View."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Namespace, Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import NetworkPolicy
from kybern.client import Client
from kybern.client.view import View
from kybern.cmd.config import CLUSTER_DOMAIN
from kybern.cmd.links import underlay_mtu
from kybern.cmd.place import Place
from kybern.linux import nft
from kybern.network.bridge import BridgeNetwork
from kybern.network.dns.forward import resolvers_of_host
from kybern.network.dns.records import Zone
from kybern.network.dns.server import Resolver, ZoneFollower
from kybern.network.dns.server import serve as serve_dns
from kybern.network.following import NodesFollower
from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.network.proxy import ServiceProxy
from kybern.network.routes import VXLAN_BYTES, NodeRoutes, Tunnel
from kybern.network.rules import NodeNetwork

DNS_PORT = 53
KINDS: tuple[type[Any], ...] = (Node, Service, EndpointSlice, Pod, Namespace, NetworkPolicy)


@dataclass(frozen=True, slots=True)
class Network:
    """The parts that the node's other parts meet."""

    view: View
    pods: BridgeNetwork
    policies: PolicyEnforcer


def network(place: Place, client: Client, clock: Clock, ids: Ids) -> Network:
    view = View(client, clock=clock, rng=ids.rng)
    for kind in KINDS:
        view.watch_kind(kind)
    policies = PolicyEnforcer(view, apply, f"{place.cluster.table}-policy", (4,), clock)
    mtu = underlay_mtu(place) - (VXLAN_BYTES if place.cluster.pod_network == "vxlan" else 0)
    services = (place.cluster.service_cidr,)
    pods = BridgeNetwork(place.cluster.bridge, place.run / "addresses", services, mtu, policies)
    return Network(view, pods, policies)


async def apply(text: str) -> None:
    await asyncio.to_thread(nft.apply, text)


def work(place: Place, found: Network, clock: Clock, ids: Ids) -> list[Coroutine[Any, Any, None]]:
    return [
        found.view.run(),
        follow(place, found.view, found.pods, clock),
        enforce(found.view, found.policies),
        dns(place, found.view, ids.rng),
    ]


async def enforce(view: View, policies: PolicyEnforcer) -> None:
    await view.synced()
    await policies.run()


async def follow(place: Place, view: View, pods: BridgeNetwork, clock: Clock) -> None:
    """The proxy begins once it is known which pods are this node's."""
    await view.synced()
    proxy = ServiceProxy(view, apply, place.name, clock)

    def configured(cidrs: tuple[str, ...]) -> None:
        proxy.use(addresses(place, cidrs))

    nodes = NodesFollower(view, place.name, pods, routes(place, pods.mtu), clock, configured)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(nodes.run())
        tasks.create_task(proxy.run())


def addresses(place: Place, cidrs: tuple[str, ...]) -> NodeNetwork:
    return NodeNetwork(
        table=place.cluster.table,
        node_addresses=(str(place.address),),
        node_pod_cidr=cidrs[0],
        cluster_pod_cidr=str(place.cluster.pod_cidr),
        hidden_cidr=str(place.cluster.node_cidr) if place.is_machine else "",
    )


def routes(place: Place, mtu: int) -> NodeRoutes:
    cluster = place.cluster
    tunnel = None
    if cluster.pod_network == "vxlan":
        tunnel = Tunnel(cluster.vxlan, cluster.vxlan_number, str(place.address), mtu)
    return NodeRoutes((cluster.pod_cidr,), tunnel)


async def dns(place: Place, view: View, rng: random.Random) -> None:
    await view.synced()
    zone = Zone(CLUSTER_DOMAIN.encode())
    ZoneFollower(view, zone)
    await serve_dns(Resolver(zone, resolvers(place), rng), str(place.address), DNS_PORT)


def resolvers(place: Place) -> tuple[str, ...]:
    """The machine's own may listen on its loopback only, so a further node asks the first one."""
    if not place.is_machine:
        return (str(place.cluster.node_address),)
    return resolvers_of_host(without=frozenset({str(place.cluster.dns_address), str(place.address)}))
