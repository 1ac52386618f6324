"""A node's network: the ways to other nodes, the service proxy, cluster DNS. All read one View, under an account of their own."""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import ConfigMap, Namespace, Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import NetworkPolicy
from kybern.client import Client
from kybern.client.view import View
from kybern.cmd import credentials
from kybern.cmd.config import CLUSTER_DOMAIN, Cluster
from kybern.cmd.links import underlay_mtu
from kybern.cmd.place import Place, first
from kybern.cmd.ready import transport
from kybern.linux.conntrack import forget_udp
from kybern.linux.uplink import RESOLVERS
from kybern.network.bridge import BridgeNetwork
from kybern.network.cni import CniNetwork
from kybern.network.dns.forward import Forwarder, Upstream, configured, resolvers_of_host
from kybern.network.dns.records import Zone
from kybern.network.dns.server import Clients, Resolver, ZoneFollower, everybody
from kybern.network.dns.server import serve as serve_dns
from kybern.network.flows import FlowCleaner
from kybern.network.following import NodesFollower, holders
from kybern.network.health_checks import HealthChecks
from kybern.network.own_tables import OwnTables
from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.network.proxy import ServiceProxy
from kybern.network.routes import VXLAN_BYTES, NodeRoutes, Tunnel
from kybern.network.rules import NodeNetwork
from kybern.network.sandbox_rules import SandboxRules
from kybern.network.services import is_of

DNS_PORT = 53
KINDS: tuple[type[Any], ...] = (Node, Service, EndpointSlice, Pod, Namespace, NetworkPolicy)


@dataclass(frozen=True, slots=True)
class Network:
    """The parts that the node's other parts meet."""

    view: View
    pods: BridgeNetwork | CniNetwork
    policies: PolicyEnforcer
    proxy: ServiceProxy | None
    rules: SandboxRules
    tables: OwnTables


def network(place: Place, clock: Clock, ids: Ids, plugin_seconds: float) -> Network:
    cluster = place.cluster
    client = Client(transport(cluster, credentials.node_network(place.name), place.server_url))
    view = View(client, clock=clock, rng=ids.rng)
    for kind in KINDS:
        view.watch_kind(kind)
    view.watch_kind(ConfigMap, namespace="kube-system", fields="metadata.name=kube-dns")
    tables = OwnTables(clock)
    policies = PolicyEnforcer(view, tables.apply, f"{cluster.table}-policy", versions(cluster))
    tables.on_touched(policies.table, policies.distrust)
    proxy = None
    if cluster.service_proxy != "none":
        proxy = ServiceProxy(view, tables.apply, place.name, FlowCleaner(forget_udp))
        tables.on_touched(cluster.table, proxy.distrust)
    rules = SandboxRules(policies, proxy)
    known = holders(view, cluster.pod_cidrs)
    mtu = underlay_mtu(place) - (VXLAN_BYTES[place.address.version] if cluster.pod_network == "vxlan" else 0)
    services = (*cluster.service_cidrs, *cluster.balancer_cidrs) if proxy else ()
    if cluster.pod_network == "cni":
        plugins = CniNetwork(
            Path(cluster.cni_conf_dir), place.data / "cni", clock, rules, plugin_seconds=plugin_seconds
        )
        return Network(view, plugins, policies, proxy, rules, tables)
    bridge = BridgeNetwork(cluster.bridge, place.run / "addresses", services, mtu, rules, place.name, known)
    return Network(view, bridge, policies, proxy, rules, tables)


def work(place: Place, found: Network, clock: Clock, ids: Ids) -> list[Coroutine[Any, Any, None]]:
    parts = [found.view.run(), found.tables.watch(), follow(place, found, clock), enforce(found)]
    parts.append(dns(place, found.view, clock, ids.rng))
    if isinstance(found.pods, CniNetwork):
        parts.append(found.pods.watch())
    return [*parts, serve(place, found.view, found.proxy)] if found.proxy else parts


async def enforce(found: Network) -> None:
    await found.view.synced()
    await found.policies.run()


async def serve(place: Place, view: View, proxy: ServiceProxy) -> None:
    await view.synced()
    health = HealthChecks(view, proxy.slices, place.name, tuple(map(str, place.addresses)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(proxy.run())
        tasks.create_task(health.run())


async def follow(place: Place, found: Network, clock: Clock) -> None:
    """The proxy begins once it is known which pods are this node's."""
    await found.view.synced()

    def configured(cidrs: tuple[str, ...]) -> None:
        if found.proxy is not None:
            found.proxy.use(tuple(node_networks(place, cidrs)))

    ways, guard = routes(place, found.pods.mtu), f"{place.cluster.table}-tunnel"
    apply = found.tables.apply
    follower = NodesFollower(found.view, place.name, found.pods, ways, clock, configured, apply, guard)
    found.tables.on_touched(guard, follower.distrust)
    await follower.run()


def versions(cluster: Cluster) -> tuple[int, ...]:
    return tuple(cidr.version for cidr in cluster.pod_cidrs)


def node_networks(place: Place, cidrs: tuple[str, ...]) -> Iterator[NodeNetwork]:
    """Of each family. `cidrs`: the node's part of the pod network."""
    cluster = place.cluster
    own = {ip_network(cidr).version: cidr for cidr in cidrs}
    for pods, nodes in zip(cluster.pod_cidrs, cluster.node_cidrs, strict=True):
        if pods.version in own:
            yield NodeNetwork(
                table=cluster.table,
                version=pods.version,
                node_addresses=tuple(a for a in node_port_addresses(place) if is_of(a, pods.version)),
                node_pod_cidr=own[pods.version],
                cluster_pod_cidr=str(pods),
                hidden_cidr=str(nodes) if place.is_machine and not cluster.joined else "",
            )


def node_port_addresses(place: Place) -> tuple[str, ...]:
    """Beyond the machine only where the API server is told to listen too."""
    outside = place.cluster.bind_address if place.is_machine and not place.cluster.rootless else ""
    beyond = (outside,) if outside not in ("", "0.0.0.0", "::", "127.0.0.1") else ()
    return (*map(str, place.addresses), *beyond)


def routes(place: Place, mtu: int) -> NodeRoutes | None:
    cluster = place.cluster
    if cluster.pod_network == "cni":
        return None
    tunnel = None
    if cluster.pod_network == "vxlan":
        tunnel = Tunnel(cluster.vxlan, cluster.vxlan_number, str(place.address), mtu)
    return NodeRoutes(cluster.pod_cidrs, tunnel)


async def dns(place: Place, view: View, clock: Clock, rng: random.Random) -> None:
    await view.synced()
    zone = Zone(CLUSTER_DOMAIN.encode())
    ZoneFollower(view, zone)
    upstream = Forwarder(Upstream(resolvers(place)), clock.monotonic)

    def settings(old: ConfigMap | None, new: ConfigMap | None) -> None:
        upstream.use(configured((new and new.data) or {}, resolvers(place)))

    view.on_change(ConfigMap, settings)
    answered = Clients(view, place.cluster.pod_cidrs) if place.cluster.advertise_address else everybody
    await serve_dns(Resolver(zone, upstream, rng), str(place.address), DNS_PORT, answered)


def resolvers(place: Place) -> tuple[str, ...]:
    """The machine's own may listen on its loopback only, so a further node asks the first one."""
    if not place.is_machine:
        return (str(first(place.cluster).address),)
    if place.cluster.rootless:
        return (RESOLVERS[place.cluster.uplink],) if place.cluster.uplink else ()
    return resolvers_of_host(without=frozenset({str(place.cluster.dns_address), str(place.address)}))
