"""Service ports as nftables: verdict maps in one table of our own, changed by one transaction at a time.

A packet to a service address is looked up once, in a map from (address, protocol, port) to a chain; the chain chooses a
backend. So the cost of a packet does not grow with the number of services.

    service-ips        ip . protocol . port → chain    cluster, external and load balancer addresses
    service-nodeports  protocol . port      → chain    on the node's own addresses
    no-endpoints       ip . protocol . port            refused at once, so that clients do not hang
    cluster-ips        ip                              anything else sent there is refused too
    hairpin            ip . ip                         a pod that reached itself through a service is masqueraded
    cluster-nodes      ip                              pods reach them with their own address

`ruleset` is a pure function of the ports.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kybern.network.nftables import Ruleset
from kybern.network.services import Backend, ServicePort

CHAIN_NAME_MAX = 100  # the kernel takes 255; `nft list` stays readable


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """The addresses the rules are about."""

    table: str
    node_addresses: tuple[str, ...]
    """Where node ports answer."""
    node_pod_cidr: str
    cluster_pod_cidr: str
    hidden_cidr: str = ""
    """Addresses that only this machine knows, its nodes': what they send beyond the cluster goes out as the machine's."""


MAPS = (
    "service-ips",
    "service-nodeports",
    "no-endpoints",
    "no-endpoint-nodeports",
    "cluster-ips",
    "hairpin",
    "cluster-nodes",
)


def frame(network: NodeNetwork) -> str:
    """The table with its hooks and empty maps; whatever it held before is gone."""
    addresses = ", ".join(network.node_addresses)
    refuse = [
        "ct state new ip daddr . meta l4proto . th dport @no-endpoints reject",
        "ct state new ip daddr @nodeport-ips meta l4proto . th dport @no-endpoint-nodeports reject",
    ]
    beyond = "ct state new ip daddr @cluster-ips reject"
    hidden = network.hidden_cidr
    outside = f"ip daddr != {network.cluster_pod_cidr} ip daddr != @cluster-nodes"
    hide = f"ip saddr {hidden} ip daddr != {hidden} {outside} masquerade" if hidden else ""
    return f"""\
table ip {network.table}
delete table ip {network.table}
table ip {network.table} {{
    map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; }}
    map service-nodeports {{ type inet_proto . inet_service : verdict; }}
    set no-endpoints {{ type ipv4_addr . inet_proto . inet_service; }}
    set no-endpoint-nodeports {{ type inet_proto . inet_service; }}
    set cluster-ips {{ type ipv4_addr; }}
    set hairpin {{ type ipv4_addr . ipv4_addr; }}
    set cluster-nodes {{ type ipv4_addr; }}
    set nodeport-ips {{ type ipv4_addr; elements = {{ {addresses} }}; }}
    chain services {{
        ip daddr . meta l4proto . th dport vmap @service-ips
        ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }}
    chain nat-prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
    chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
    chain nat-postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr . ip daddr @hairpin masquerade
        ct status dnat ip saddr != {network.cluster_pod_cidr} ip daddr != {network.node_pod_cidr} masquerade
        ip saddr {network.node_pod_cidr} {outside} masquerade
        {hide}
    }}
    chain refuse {{
        {refuse[0]}
        {refuse[1]}
        {beyond}
    }}
    chain filter-input {{ type filter hook input priority filter - 10; policy accept; jump refuse; }}
    chain filter-forward {{ type filter hook forward priority filter - 10; policy accept; jump refuse; }}
    chain filter-output {{ type filter hook output priority filter - 10; policy accept; jump refuse; }}
}}
"""


def ruleset(ports: Iterable[ServicePort], nodes: Iterable[str] = ()) -> Ruleset:
    """`nodes`: the addresses of all nodes."""
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    elements: dict[str, dict[str, str]] = {name: {} for name in MAPS}
    elements["cluster-nodes"] = dict.fromkeys(sorted(nodes), "")
    for port in ports:
        for address in port.cluster_ips:
            elements["cluster-ips"][address] = ""
        if port.backends:
            chain = chain_name("svc", port)
            chains.update(service_chains(chain, port))
            sets.update(affinity_sets(port))
            place(elements["service-ips"], elements["service-nodeports"], port, f"goto {chain}")
            for backend in port.backends:
                elements["hairpin"][f"{backend.address} . {backend.address}"] = ""
        else:
            place(elements["no-endpoints"], elements["no-endpoint-nodeports"], port, "")
    return Ruleset(chains, sets, elements)


def place(by_address: dict[str, str], by_port: dict[str, str], port: ServicePort, verdict: str) -> None:
    for address in port.cluster_ips:
        by_address[f"{address} . {port.protocol} . {port.port}"] = verdict
    if port.node_port:
        by_port[f"{port.protocol} . {port.node_port}"] = verdict


def service_chains(chain: str, port: ServicePort) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One rule that chooses; with affinity a chain per backend too, which remembers the client."""
    if not port.affinity_seconds:
        choices = ", ".join(f"{i} : {b.address} . {b.port}" for i, b in enumerate(port.backends))
        choose = f"numgen random mod {len(port.backends)} map {{ {choices} }}"
        yield chain, (f"meta l4proto {port.protocol} dnat ip to {choose}",)
        return
    of_backend = {backend: chain_name("ep", port, backend) for backend in port.backends}
    remembered = [f"ip saddr @{affinity_set(port, b)} goto {of_backend[b]}" for b in port.backends]
    choices = ", ".join(f"{i} : goto {name}" for i, name in enumerate(of_backend.values()))
    for backend, name in of_backend.items():
        remember = f"update @{affinity_set(port, backend)} {{ ip saddr }}"
        yield name, (remember, f"meta l4proto {port.protocol} dnat ip to {backend.address}:{backend.port}")
    yield chain, (*remembered, f"numgen random mod {len(port.backends)} vmap {{ {choices} }}")


def affinity_sets(port: ServicePort) -> Iterator[tuple[str, str]]:
    if port.affinity_seconds:
        for backend in port.backends:
            kind = f"type ipv4_addr; flags dynamic, timeout; timeout {port.affinity_seconds}s;"
            yield affinity_set(port, backend), kind


def affinity_set(port: ServicePort, backend: Backend) -> str:
    return chain_name("aff", port, backend)


def chain_name(kind: str, port: ServicePort, backend: Backend | None = None) -> str:
    """Unique by its hash, readable by its end: `svc-1f0c2ab9-default/web/tcp/80`."""
    readable = f"{port.namespace}/{port.service}/{port.protocol}/{port.port}"
    if backend:
        readable += f"/{backend.address}/{backend.port}"
    unique = hashlib.sha256(f"{readable}/{port.name}".encode()).hexdigest()[:10]
    return f"{kind}-{unique}-{readable}"[:CHAIN_NAME_MAX]
