"""Service ports as nftables: verdict maps in one table of our own, changed by one transaction at a time.

A packet to a service address is looked up once, in a map from (address, protocol, port) to a chain; the chain chooses a
backend. So the cost of a packet does not grow with the number of services.

    service-ips        ip . protocol . port → chain    cluster, external and load balancer addresses
    service-nodeports  protocol . port      → chain    on the node's own addresses
    no-endpoints       ip . protocol . port            refused at once, so that clients do not hang
    cluster-ips        ip                              anything else sent there is refused too
    hairpin            ip . ip                         a pod that reached itself through a service is masqueraded

`ruleset` is a pure function of the ports; `transaction` is the text for `nft -f -` that leads from one to the next.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What is in the table besides its fixed frame."""

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Chain → rules."""
    sets: Mapping[str, str] = field(default_factory=dict)
    """Affinity set → declaration."""
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Set or map → key → verdict, or "" in a set."""


MAPS = ("service-ips", "service-nodeports", "no-endpoints", "no-endpoint-nodeports", "cluster-ips", "hairpin")


def frame(network: NodeNetwork) -> str:
    """The table with its hooks and empty maps; whatever it held before is gone."""
    addresses = ", ".join(network.node_addresses)
    refuse = [
        "ct state new ip daddr . meta l4proto . th dport @no-endpoints reject",
        "ct state new ip daddr @nodeport-ips meta l4proto . th dport @no-endpoint-nodeports reject",
    ]
    beyond = "ct state new ip daddr @cluster-ips reject"
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
        ip saddr {network.node_pod_cidr} ip daddr != {network.cluster_pod_cidr} masquerade
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


def ruleset(ports: Iterable[ServicePort]) -> Ruleset:
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    elements: dict[str, dict[str, str]] = {name: {} for name in MAPS}
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


def transaction(table: str, old: Ruleset, new: Ruleset) -> str:
    """The commands that turn `old` into `new`; empty when they are equal. Order: what is pointed at outlives what points."""
    lines: list[str] = []
    for name in MAPS:
        gone = changed_keys(old.elements.get(name, {}), new.elements.get(name, {}))
        lines += element_lines("delete", table, name, dict.fromkeys(gone, ""))
    lines += [f"add set ip {table} {name} {{ {kind} }}" for name, kind in new.sets.items() if name not in old.sets]
    lines += [f"add chain ip {table} {name}" for name in new.chains if name not in old.chains]
    lines += list(rule_lines(table, old.chains, new.chains))
    for name in MAPS:
        before, after = old.elements.get(name, {}), new.elements.get(name, {})
        lines += element_lines("add", table, name, {k: v for k, v in after.items() if before.get(k) != v})
    gone_chains = [name for name in old.chains if name not in new.chains]
    lines += [f"flush chain ip {table} {name}" for name in gone_chains]
    lines += [f"delete chain ip {table} {name}" for name in gone_chains]
    lines += [f"delete set ip {table} {name}" for name in old.sets if name not in new.sets]
    return "\n".join(lines) + "\n" if lines else ""


def changed_keys(before: Mapping[str, str], after: Mapping[str, str]) -> Sequence[str]:
    return [key for key, value in before.items() if after.get(key) != value]


def rule_lines(table: str, old: Mapping[str, tuple[str, ...]], new: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for name, rules in new.items():
        if old.get(name) == rules:
            continue
        if name in old:
            yield f"flush chain ip {table} {name}"
        for rule in rules:
            yield f"add rule ip {table} {name} {rule}"


def element_lines(verb: str, table: str, name: str, elements: Mapping[str, str]) -> list[str]:
    if not elements:
        return []
    listed = ", ".join(f"{key} : {value}" if value else key for key, value in elements.items())
    return [f"{verb} element ip {table} {name} {{ {listed} }}"]
