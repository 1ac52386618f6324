"""Service ports as nftables: verdict maps in one table of our own for each family, changed by one transaction at a time.

A packet to a service address is looked up once, in a map from (address, protocol, port) to a chain; the chain chooses a
backend. So the cost of a packet does not grow with the number of services.

    service-ips        ip . protocol . port → chain    cluster, external and load balancer addresses
    service-nodeports  protocol . port      → chain    on the node's own addresses and its loopback
    host-ports         ip . protocol . port → chain    a pod's hostPort on one address
    host-ports-any     protocol . port      → chain    and on all of the node's
    firewall           ip . protocol . port → chain    a load balancer that only some networks may use
    no-endpoints       ip . protocol . port            refused at once, so that clients do not hang
    no-local           ip . protocol . port            dropped: another node has endpoints, this one none (`Local`)
    cluster-ips        ip                              anything else sent there is refused too
    hairpin            ip . ip                         a pod that reached itself through a service is masqueraded
    cluster-nodes      ip                              pods reach them with their own address

What comes from 127.0.0.1 leaves with the node's address, and nothing from elsewhere may claim to be from or for there:
`route_localnet`, which node ports on the loopback need, would let neighbours in otherwise (CVE-2020-8558).
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kybern.network.nftables import Ruleset
from kybern.network.services import Backend, ServicePort

CHAIN_NAME_MAX = 100  # the kernel takes 255; `nft list` stays readable
FAMILIES = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}
LOOPBACK = {4: "127.0.0.0/8", 6: "::1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """The addresses the rules are about, of one family."""

    table: str
    version: int = 4
    node_addresses: tuple[str, ...]
    """Where node ports answer, besides the loopback."""
    node_pod_cidr: str
    cluster_pod_cidr: str
    hidden_cidr: str = ""
    """Addresses that only this machine knows, its nodes': what they send beyond the cluster goes out as the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class HostPort:
    """A pod's port on its node."""

    host_ip: str
    """Empty for all of the node's addresses."""
    protocol: str
    host_port: int
    address: str
    port: int


def frame(network: NodeNetwork) -> str:
    """The table with its hooks and empty maps; whatever it held before is gone.

    What came here for a node port and goes on to another node is masqueraded, so that its answer comes back this way:
    also a pod's of another node, whose answer would else go straight to it.
    """
    ip, kind = FAMILIES[network.version]
    loopback = LOOPBACK[network.version]
    own = "127.0.0.1" if network.version == 4 else "::1"
    addresses = ", ".join(dict.fromkeys((*network.node_addresses, own)))
    hidden, pods = network.hidden_cidr, network.cluster_pod_cidr
    outside = f"{ip} daddr != {pods} {ip} daddr != @cluster-nodes"
    hide = f"{ip} saddr {hidden} {ip} daddr != {hidden} {outside} masquerade" if hidden else ""
    flow = f"{ip} daddr . meta l4proto . th dport"
    return f"""\
table {ip} {network.table}
delete table {ip} {network.table}
table {ip} {network.table} {{
    map service-ips {{ type {kind} . inet_proto . inet_service : verdict; }}
    map service-nodeports {{ type inet_proto . inet_service : verdict; }}
    map host-ports {{ type {kind} . inet_proto . inet_service : verdict; }}
    map host-ports-any {{ type inet_proto . inet_service : verdict; }}
    map firewall {{ type {kind} . inet_proto . inet_service : verdict; }}
    set no-endpoints {{ type {kind} . inet_proto . inet_service; }}
    set no-endpoint-nodeports {{ type inet_proto . inet_service; }}
    set no-local {{ type {kind} . inet_proto . inet_service; }}
    set no-local-nodeports {{ type inet_proto . inet_service; }}
    set cluster-ips {{ type {kind}; }}
    set hairpin {{ type {kind} . {kind}; }}
    set cluster-nodes {{ type {kind}; }}
    set nodeport-ips {{ type {kind}; elements = {{ {addresses} }}; }}
    chain services {{
        {flow} vmap @service-ips
        {flow} vmap @host-ports
        {ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
        {ip} daddr @nodeport-ips meta l4proto . th dport vmap @host-ports-any
    }}
    chain nat-prerouting {{ type nat hook prerouting priority dstnat; policy accept; jump services; }}
    chain nat-output {{ type nat hook output priority -100; policy accept; jump services; }}
    chain nat-postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        {ip} saddr . {ip} daddr @hairpin ct status dnat masquerade
        {ip} saddr {loopback} ct status dnat oifname != lo masquerade
        ct status dnat {ip} saddr != {network.node_pod_cidr} {ip} daddr != {network.node_pod_cidr} oifname != lo masquerade
        {ip} saddr {network.node_pod_cidr} {outside} masquerade
        {hide}
    }}
    chain raw-prerouting {{
        type filter hook prerouting priority raw; policy accept;
        iifname != lo {ip} daddr {loopback} drop
        iifname != lo {ip} saddr {loopback} drop
    }}
    chain firewall-prerouting {{ type filter hook prerouting priority dstnat - 10; policy accept; ct state new {flow} vmap @firewall; }}
    chain firewall-output {{ type filter hook output priority -110; policy accept; ct state new {flow} vmap @firewall; }}
    chain refuse {{
        {flow} @no-local drop
        {ip} daddr @nodeport-ips meta l4proto . th dport @no-local-nodeports drop
        {flow} @no-endpoints reject
        {ip} daddr @nodeport-ips meta l4proto . th dport @no-endpoint-nodeports reject
        {ip} daddr @cluster-ips reject
    }}
    chain filter-input {{ type filter hook input priority filter - 10; policy accept; ct state new jump refuse; }}
    chain filter-forward {{ type filter hook forward priority filter - 10; policy accept; ct state new jump refuse; }}
    chain filter-output {{ type filter hook output priority filter - 10; policy accept; ct state new jump refuse; }}
}}
"""


@dataclass(slots=True)
class Part:
    """The rules of one service while they are put together."""

    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)

    def put(self, name: str, key: str, value: str = "") -> None:
        self.elements.setdefault(name, {})[key] = value


def service_rules(ports: Iterable[ServicePort], network: NodeNetwork) -> Ruleset:
    """The part of one service, or of many."""
    part = Part()
    for port in ports:
        if port.version == network.version:
            add_port(part, port, network)
    return Ruleset(part.chains, part.sets, part.elements)


def add_port(part: Part, port: ServicePort, network: NodeNetwork) -> None:
    ip, kind = FAMILIES[port.version]
    for address in port.cluster_ips:
        part.put("cluster-ips", address)
    for backend in {*port.backends, *(port.outside_backends or ())}:
        part.put("hairpin", f"{backend.address} . {backend.address}")
    inside = backends_chain(part, "svc", port, port.backends) if port.backends else ""
    at = f"{port.protocol} . {port.port}"
    for address in port.cluster_ips:
        lead(part, f"{address} . {at}", inside, "service-ips", "no-endpoints")
    outside, no_way, no_node_way = inside, "no-endpoints", "no-endpoint-nodeports"
    if port.outside_backends is not None:
        outside = outside_chain(part, port, inside, network)
        if port.backends:
            no_way, no_node_way = "no-local", "no-local-nodeports"
    for address in port.external_ips:
        lead(part, f"{address} . {at}", outside, "service-ips", no_way)
        if port.sources:
            allowed = ", ".join((*port.sources, *network.node_addresses))
            chain = chain_name("fw", port)
            part.chains[chain] = (f"{ip} saddr {{ {allowed} }} return", "drop")
            part.put("firewall", f"{address} . {at}", f"goto {chain}")
    if port.node_port:
        lead(part, f"{port.protocol} . {port.node_port}", outside, "service-nodeports", no_node_way)
    for backend in affinity_backends(port):
        # A client that is remembered is remembered wherever it comes in.
        part.sets[affinity_set(port, backend)] = (
            f"type {kind}; flags dynamic, timeout; timeout {port.affinity_seconds}s;"
        )


def lead(part: Part, key: str, chain: str, way: str, no_way: str) -> None:
    if chain:
        part.put(way, key, f"goto {chain}")
    else:
        part.put(no_way, key)


def outside_chain(part: Part, port: ServicePort, inside: str, network: NodeNetwork) -> str:
    """Pods and the node itself are served as inside; those outside by endpoints of this node only, or not at all."""
    local = port.outside_backends or ()
    chosen = backends_chain(part, "loc", port, local) if local else ""
    if not chosen and not inside:
        return ""
    ip, _ = FAMILIES[port.version]
    rules = []
    if inside:
        rules = [f"{ip} saddr {network.cluster_pod_cidr} goto {inside}", f"fib saddr type local goto {inside}"]
    if not chosen:
        # Not translated, so what comes from outside meets `no-local`.
        for address in port.external_ips:
            part.put("no-local", f"{address} . {port.protocol} . {port.port}")
        if port.node_port:
            part.put("no-local-nodeports", f"{port.protocol} . {port.node_port}")
    name = chain_name("ext", port)
    part.chains[name] = (*rules, *((f"goto {chosen}",) if chosen else ()))
    return name


def backends_chain(part: Part, kind: str, port: ServicePort, backends: tuple[Backend, ...]) -> str:
    chain = chain_name(kind, port)
    part.chains.update(choosing_chains(chain, port, backends))
    return chain


def choosing_chains(
    chain: str, port: ServicePort, backends: tuple[Backend, ...]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """One rule that chooses; with affinity a chain per backend too, which remembers the client."""
    ip, _ = FAMILIES[port.version]
    if not port.affinity_seconds:
        choices = ", ".join(f"{i} : {b.address} . {b.port}" for i, b in enumerate(backends))
        choose = f"numgen random mod {len(backends)} map {{ {choices} }}"
        yield chain, (f"meta l4proto {port.protocol} dnat {ip} to {choose}",)
        return
    of_backend = {backend: chain_name("ep", port, backend) for backend in backends}
    remembered = [f"{ip} saddr @{affinity_set(port, b)} goto {of_backend[b]}" for b in backends]
    choices = ", ".join(f"{i} : goto {name}" for i, name in enumerate(of_backend.values()))
    for backend, name in of_backend.items():
        remember = f"update @{affinity_set(port, backend)} {{ {ip} saddr }}"
        yield name, (remember, f"meta l4proto {port.protocol} dnat {ip} to {target(backend)}")
    yield chain, (*remembered, f"numgen random mod {len(backends)} vmap {{ {choices} }}")


def target(backend: Backend) -> str:
    return f"[{backend.address}]:{backend.port}" if ":" in backend.address else f"{backend.address}:{backend.port}"


def affinity_backends(port: ServicePort) -> Iterable[Backend]:
    return {*port.backends, *(port.outside_backends or ())} if port.affinity_seconds else ()


def affinity_set(port: ServicePort, backend: Backend) -> str:
    """Another for every timeout: that of a set cannot be changed."""
    return chain_name(f"aff{port.affinity_seconds}", port, backend)


def chain_name(kind: str, port: ServicePort, backend: Backend | None = None) -> str:
    """Unique by its hash, readable by its end: `svc-1f0c2ab9-default/web/tcp/80`."""
    readable = f"{port.namespace}/{port.service}/{port.protocol}/{port.port}"
    if backend:
        readable += f"/{backend.address.replace(':', '_')}/{backend.port}"
    unique = hashlib.sha256(f"{readable}/{port.name}".encode()).hexdigest()[:10]
    return f"{kind}-{unique}-{readable}"[:CHAIN_NAME_MAX]


def host_port_rules(ports: Iterable[HostPort], version: int) -> Ruleset:
    """Of the pods of this node. Where two ask for the same, the first keeps it."""
    ip, _ = FAMILIES[version]
    part = Part()
    for port in ports:
        if (":" in port.address) != (version == 6):
            continue
        unique = hashlib.sha256(repr(port).encode()).hexdigest()[:10]
        name = f"host-{unique}-{port.protocol}/{port.host_port}"
        way = "host-ports" if port.host_ip not in ("", "0.0.0.0", "::") else "host-ports-any"
        key = f"{port.protocol} . {port.host_port}"
        if way == "host-ports":
            key = f"{port.host_ip} . {key}"
        if key in part.elements.get(way, {}):
            continue
        part.chains[name] = (f"meta l4proto {port.protocol} dnat {ip} to {target(Backend(port.address, port.port))}",)
        part.put(way, key, f"goto {name}")
        part.put("hairpin", f"{port.address} . {port.address}")
    return Ruleset(part.chains, part.sets, part.elements)


def merged(parts: Iterable[Ruleset], nodes: Iterable[str] = ()) -> Ruleset:
    """All parts together; `nodes`: the addresses of all nodes."""
    whole = Part()
    whole.elements["cluster-nodes"] = dict.fromkeys(sorted(nodes), "")
    for part in parts:
        whole.chains.update(part.chains)
        whole.sets.update(part.sets)
        for name, elements in part.elements.items():
            whole.elements.setdefault(name, {}).update(elements)
    return Ruleset(whole.chains, whole.sets, whole.elements)
