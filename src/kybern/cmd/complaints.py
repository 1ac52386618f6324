"""What is not well with a cluster's network, as `kybern status` says it: ranges that are full or somebody else's, rules of
others that hit its packets, protocols that the kernel has not, nodes and pods whose network fails. A line each, pure but for
looking.

The API server is asked for what is wrong with the cluster, and the machine for what is wrong here, which may be why the API
server does not answer.
"""

import errno
import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network

from kybern.api.core_v1 import Event, Node, Pod, Service
from kybern.client import Client
from kybern.cmd import config
from kybern.cmd.config import Address, Cluster, Network
from kybern.cmd.routes import routed_networks
from kybern.controllers.loadbalancer import addresses_of
from kybern.reconcile.pods import is_finished

IPPROTO_SCTP = 132
KEPT_OF_A_NODE = 3  # network, gateway and broadcast address
NO_SANDBOX = "FailedCreatePodSandBox"
PODS_NAMED_MAX = 10  # where the network is broken it fails for all of them


async def complaints(cluster: Cluster, client: Client) -> list[str]:
    services, nodes, pods = await client.list(Service), await client.list(Node), await client.list(Pod)
    failures = await client.list(Event, fields=f"reason={NO_SANDBOX}")
    of_nodes = [*failing(nodes), *without_sandbox(pods, failures)]
    return [*full_ranges(cluster, services, nodes, pods), *of_nodes, *without_sctp(services, has_sctp())]


def full_ranges(
    cluster: Cluster, services: Iterable[Service], nodes: Sequence[Node], pods: Sequence[Pod]
) -> Iterator[str]:
    listed = list(services)
    held = [ip for service in listed for ip in service.spec.cluster_ips or () if ip != "None"]
    balanced = [ip for service in listed for ip in addresses_of(service)]
    for what, cidrs, used in (
        ("Services", cluster.service_cidrs, held),
        ("load balancers", cluster.balancer_cidrs, balanced),
    ):
        for cidr in cidrs:
            count = sum(ip_address(ip) in cidr for ip in used)
            if count >= cidr.num_addresses - 2:
                yield f"the addresses of {what} are used up: {count} of {cidr}"
    parts = {text: ip_network(text) for node in nodes for text in node.spec.pod_cidrs or ()}
    taken = counted(pod_addresses(pods), parts.values())
    for node in nodes:
        for text in node.spec.pod_cidrs or ():
            part = parts[text]
            if taken[part] >= part.num_addresses - KEPT_OF_A_NODE:
                yield f"the pod addresses of node {node.metadata.name} are used up: {taken[part]} of {part}"
        if not node.spec.pod_cidrs and not cluster.simulated:
            yield f"node {node.metadata.name} has no part of the pod network: {' and '.join(map(str, cluster.pod_cidrs))} may be used up"


def pod_addresses(pods: Iterable[Pod]) -> Iterator[Address]:
    """Of those that run: a finished pod still tells the address that it has given back."""
    for pod in pods:
        if not pod.spec.host_network and not is_finished(pod):
            yield from (ip_address(ip.ip) for ip in pod.status.pod_ips or ())


def counted(addresses: Iterable[Address], parts: Iterable[Network]) -> Counter[Network]:
    """How many are in each part; every address is looked at once, however many parts there are."""
    lengths = {(part.version, part.prefixlen) for part in parts}
    return Counter(
        ip_network((address, length), strict=False)
        for address in addresses
        for version, length in lengths
        if version == address.version
    )


def failing(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        for condition in node.status.conditions or ():
            if condition.type == "Ready" and condition.status != "True":
                yield f"node {node.metadata.name} is not Ready: {condition.message or condition.reason}"


def without_sandbox(pods: Iterable[Pod], failures: Iterable[Event]) -> Iterator[str]:
    """Pods that wait because the network, by a plugin say, or the runtime fails for them; by what was said last."""
    said = {
        event.involved_object.uid: event.message for event in sorted(failures, key=lambda e: e.last_timestamp or "")
    }
    waiting = [pod for pod in pods if pod.metadata.uid in said and not pod.status.pod_ips and not is_finished(pod)]
    for pod in waiting[:PODS_NAMED_MAX]:
        meta = pod.metadata
        yield f"pod {meta.namespace}/{meta.name} waits on node {pod.spec.node_name}: {said[meta.uid]}"
    if len(waiting) > PODS_NAMED_MAX:
        yield f"{len(waiting)} pods wait like this: kubectl get events -A --field-selector reason={NO_SANDBOX}"


def without_sctp(services: Iterable[Service], kernel_has_it: bool) -> Iterator[str]:
    for service in services if not kernel_has_it else ():
        if any(port.protocol == "SCTP" for port in service.spec.ports or ()):
            meta = service.metadata
            yield f"service {meta.namespace}/{meta.name} wants SCTP, which the kernel of this machine has not"


def has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
    except OSError as error:
        return error.errno not in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
    return True


def in_others_way(cluster: Cluster) -> Iterator[str]:
    """What others on this machine do that the cluster cannot help; only root is told."""
    if os.geteuid() != 0 or cluster.simulated:
        return
    from kybern.linux.firewall import foreign

    ours = links_of(cluster)
    if not cluster.joined and cluster.index in config.overlapping(routed_networks(ours)):
        yield f"another link of this machine has routes into {' or '.join(map(str, cluster.ranges))}: pods may be cut off"
    for what in foreign("kybern-", ours, all_cidrs(cluster)):
        yield f"{what}: pods may be cut off; let the links kyb-*, kyn-* and kyv-* through"


def links_of(cluster: Cluster) -> tuple[str, ...]:
    return (cluster.bridge, cluster.node_bridge, cluster.vxlan)


def all_cidrs(cluster: Cluster) -> tuple[Network, ...]:
    return tuple(cidr for r in cluster.ranges for cidr in (r.pods, r.services, r.nodes, r.balancers))
