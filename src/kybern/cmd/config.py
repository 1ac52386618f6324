"""What a cluster on this machine is made of: its directories, addresses and names, chosen once and then kept.

The choice is written to `<data>/cluster.json` by the first `kybern up`; later ones read it, so a cluster keeps its
addresses. A second cluster on the machine takes the next free ranges: 10.245.0.0/16, 10.97.0.0/16 and 10.107.0.0/24, say; of
IPv6, fd00:10:245::/56 and so on.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import msgspec

from kybern.cmd.server_options import ServerOptions

CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443
KUBELET_PORT = 10250
CLUSTERS_MAX = 10  # address ranges: 10.244-10.253 for pods, 10.96-10.105 for services, 10.106-10.115 for nodes and
# load balancers
FIRST_POD_RANGE, FIRST_SERVICE_RANGE, FIRST_NODE_RANGE = 244, 96, 106
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NODES_MAX = 250  # on one machine: the last part of their address


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """A node of this machine."""

    name: str
    number: int
    """The first one's is 1. Decides the address, and is never another's while the node exists."""
    cpus: str = ""
    memory: str = ""
    off: bool = False
    """Killed, and to stay so until it is healed."""
    delay_ms: int = 0
    loss_percent: int = 0
    """How its link is slowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster's settings. `id` tells its kernel objects (links, tables, cgroups) from those of others."""

    id: str
    name: str
    data_dir: str
    run_dir: str
    index: int = 0
    port: int = API_PORT
    bind_address: str = "127.0.0.1"
    advertise_address: str = ""
    """Where other machines reach this one, its node and its API server; empty where none are to."""
    joined: str = ""
    """The URL of another machine's API server: this one has joined its cluster and has but nodes."""
    node_name: str = "kybern"
    """Of the first node, which is the machine itself."""
    node_cpus: str = ""
    node_memory: str = ""
    """What a node may use at most; empty for all of the machine's."""
    further_nodes: tuple[NodeSettings, ...] = ()
    service_proxy: str = "nftables"
    """Or none: somebody else's does it."""
    pod_network: str = "vxlan"
    """How pods of different nodes reach each other: vxlan or routes; or cni, and the plugins see to it."""
    cni_conf_dir: str = "/etc/cni/net.d"
    runtime: str = ""
    """The CRI runtime that runs the containers, as gRPC names it; empty for our own."""
    ip_family: str = "ipv4"
    """Of pods, Services and nodes: ipv4, ipv6, or dual: both, and IPv4 where one has to be chosen."""
    rootless: bool = False
    """In namespaces of an ordinary user's own."""
    uplink: str = ""
    """The program that leads out of those; empty where the cluster reaches itself only."""
    always_simulated: bool = False
    """As it was asked for."""
    simulated: bool = False
    """As it is now: that was asked for, or containers cannot run here."""
    simulated_nodes: int = 0
    """So many, beside the machine's own node."""
    simulated_config: str = ""
    """A file that says what simulated nodes and their pods are like."""
    scheduler_config: str = ""
    """A file in upstream's format."""
    gateway_api: bool = False
    """Its definitions are there, and the proxy serves HTTPRoutes."""
    registry_port: int = 0
    """Of the machine's own image registry, on loopback; 0 where there is none."""
    extensions: tuple[str, ...] = ()
    """Files of Python with rules of the user's own."""
    verbose: bool = False
    options: ServerOptions = field(default_factory=ServerOptions)

    @property
    def data(self) -> Path:
        return Path(self.data_dir)

    @property
    def run(self) -> Path:
        return Path(self.run_dir)

    @property
    def pki(self) -> Path:
        return self.data / "pki"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def control_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def gate_socket(self) -> Path:
        """Where a rootless cluster gets ports of the machine."""
        return self.run / "gate.sock"

    @property
    def uplink_note(self) -> Path:
        return self.run / "uplink.pid"

    @property
    def cgroup_note(self) -> Path:
        return self.run / "cgroup"

    @property
    def controllers_socket(self) -> Path:
        """Where the controllers tell their metrics."""
        return self.run / "controllers.sock"

    @property
    def ranges(self) -> tuple["Ranges", ...]:
        """Of each family that it has, the one that is chosen first."""
        of_family = {"ipv4": (4,), "ipv6": (6,), "dual": (4, 6)}[self.ip_family]
        return tuple(ranges(self.index, version) for version in of_family)

    @property
    def pod_cidrs(self) -> tuple[Network, ...]:
        return tuple(found.pods for found in self.ranges)

    @property
    def service_cidrs(self) -> tuple[Network, ...]:
        return tuple(found.services for found in self.ranges)

    @property
    def node_cidrs(self) -> tuple[Network, ...]:
        return tuple(found.nodes for found in self.ranges)

    @property
    def balancer_cidrs(self) -> tuple[Network, ...]:
        """Of Services of type LoadBalancer; this machine and its pods reach them."""
        return tuple(found.balancers for found in self.ranges)

    @property
    def gateways(self) -> tuple[Address, ...]:
        """Of the nodes that are namespaces: this machine's addresses on their bridge."""
        return tuple(cidr.network_address + 1 for cidr in self.node_cidrs)

    @property
    def node_address(self) -> Address:
        """The first node's: this machine, its nodes and its pods reach it, nobody else does."""
        return self.gateways[0]

    @property
    def api_service_address(self) -> Address:
        return self.service_cidrs[0].network_address + 1

    @property
    def dns_address(self) -> Address:
        return self.service_cidrs[0].network_address + 10

    @property
    def bridge(self) -> str:
        """What pods are attached to."""
        return f"kyb-{self.id}"

    @property
    def node_bridge(self) -> str:
        """What the nodes of this machine are attached to."""
        return f"kyn-{self.id}"

    @property
    def vxlan(self) -> str:
        return f"kyv-{self.id}"

    @property
    def vxlan_number(self) -> int:
        """Another for each cluster of a machine; the same on all machines of a cluster."""
        return 4096 + self.index

    @property
    def local_url(self) -> str:
        """The API server, as this machine reaches it."""
        return self.joined or f"https://127.0.0.1:{self.port}"

    @property
    def table(self) -> str:
        return f"kybern-{self.id}"

    @property
    def cgroup(self) -> str:
        return f"/kybern-{self.id}"

    @property
    def server_url(self) -> str:
        """What people use."""
        if self.joined:
            return self.joined
        host = "127.0.0.1" if self.bind_address in ("0.0.0.0", "127.0.0.1") else self.bind_address
        return f"https://{in_url(host)}:{self.port}"


def refuse_strange_family(cluster: Cluster, address: str) -> None:
    """ValueError for a node's address of a family that the cluster's nodes have none of."""
    if ip_address(address).version not in {cidr.version for cidr in cluster.node_cidrs}:
        raise ValueError(f"the cluster is of {cluster.ip_family} alone, and {address} is not")


def in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/kybern")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "kybern"


def run_root() -> Path:
    """Where running clusters keep their sockets and pins: gone after a reboot, as they are."""
    if os.geteuid() == 0:
        return Path("/run/kybern")
    given = os.environ.get("XDG_RUNTIME_DIR")
    return Path(given) / "kybern" if given else Path(f"/tmp/kybern-{os.geteuid()}")


def cluster_id(data_dir: Path) -> str:
    """Six hex digits: short enough for a network link's name (15 bytes at most)."""
    return hashlib.sha256(str(data_dir).encode()).hexdigest()[:6]


def saved(data_dir: Path) -> Cluster | None:
    """The cluster of this data directory, if there has been one. DamagedNote when its note cannot be read."""
    path = data_dir / "cluster.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Cluster)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedNote(path, error) from error


class DamagedNote(Exception):
    """`cluster.json` cannot be read as one."""

    def __init__(self, path: Path, error: Exception) -> None:
        super().__init__(f"{path} is damaged ({error}); move it away, or restore it")


def save(cluster: Cluster) -> None:
    path = cluster.data / "cluster.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(asdict(cluster)), indent=2))
    path.chmod(0o600)


def choose(data_dir: Path, used: Iterable[int], **settings: object) -> Cluster:
    """The saved cluster with these settings changed, or a new one in the first free range. ValueError when all are used."""
    given = {name: value for name, value in settings.items() if value is not None}
    known = saved(data_dir)
    if known is not None:
        return replace(known, **given)  # type: ignore[arg-type]
    taken = set(used)
    free = [index for index in range(CLUSTERS_MAX) if index not in taken]
    if not free:
        raise ValueError("every address range that kybern knows is taken here; stop a cluster with `kybern down`")
    return new(data_dir, index=free[0], **given)


def new(data_dir: Path, **settings: object) -> Cluster:
    """The names follow from the data directory."""
    ident = cluster_id(data_dir)
    name = "kybern" if data_dir == default_data_dir() else f"kybern-{data_dir.name}"
    return Cluster(id=ident, name=name, data_dir=str(data_dir), run_dir=str(run_root() / ident), **settings)  # type: ignore[arg-type]


def overlapping(networks: Iterable[Network]) -> set[int]:
    """The indices whose ranges meet networks which this machine has a route to already: a company's VPN, another cluster."""
    known = [network for network in networks if network.prefixlen > 0]
    return {index for index in range(CLUSTERS_MAX) if any(meets(ranges(index, n.version), n) for n in known)}


def meets(own: "Ranges", network: Network) -> bool:
    return any(cidr.overlaps(network) for cidr in (own.pods, own.services, own.nodes, own.balancers))


@dataclass(frozen=True, slots=True)
class Ranges:
    """The addresses of a cluster, of one family."""

    pods: Network
    services: Network
    nodes: Network
    balancers: Network

    def __str__(self) -> str:
        return f"{self.pods}, {self.services} or {self.nodes}"


def ranges(index: int, version: int = 4) -> Ranges:
    pods, services, nodes = FIRST_POD_RANGE + index, FIRST_SERVICE_RANGE + index, FIRST_NODE_RANGE + index
    if version == 6:
        return Ranges(
            IPv6Network(f"fd00:10:{pods}::/56"),
            IPv6Network(f"fd00:10:{services}::/112"),
            IPv6Network(f"fd00:10:{nodes}::/112"),
            IPv6Network(f"fd00:10:{nodes}:1::/112"),
        )
    return Ranges(
        IPv4Network(f"10.{pods}.0.0/16"),
        IPv4Network(f"10.{services}.0.0/16"),
        IPv4Network(f"10.{nodes}.0.0/24"),
        IPv4Network(f"10.{nodes}.1.0/24"),
    )


def indices_in_use(root: Path) -> set[int]:
    """The ranges of the clusters that are on this machine now, up or not yet reset, by their notes in the run root."""
    found = set()
    for note in root.glob("*/index"):
        try:
            found.add(int(note.read_text()))
        except (OSError, ValueError):
            continue  # being written or removed right now: not a cluster that runs
    return found
