"""Where a node of this machine lives: its address, its namespace, its directories, its cgroup; all follow from its number.

The first node is the machine itself. Every further one has a network namespace of its own, joined to the machine by one
link, so it can be cut off, slowed and killed like a machine of its own.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from kybern.cmd.config import Address, Cluster, NodeSettings, in_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Place(NodeSettings):
    cluster: Cluster

    @property
    def is_machine(self) -> bool:
        return self.number == 1

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The node's, of each family. A simulated node's kubelet is on loopback: the node network does not exist there."""
        if self.cluster.simulated:
            return (IPv4Address("127.0.0.1"),)
        if self.is_machine and self.cluster.advertise_address:
            return (ip_address(self.cluster.advertise_address),)
        return tuple(cidr.network_address + self.number for cidr in self.cluster.node_cidrs)

    @property
    def address(self) -> Address:
        return self.addresses[0]

    @property
    def server_url(self) -> str:
        """The API server, as this node reaches it."""
        if self.is_machine or self.cluster.simulated:
            return self.cluster.local_url
        return f"https://{in_url(str(self.cluster.node_address))}:{self.cluster.port}"

    @property
    def netns(self) -> str | None:
        """None for the machine's own."""
        return None if self.is_machine or self.cluster.simulated else str(self.run / "network")

    @property
    def uplink(self) -> str:
        """The machine's end of the link; 15 bytes at most."""
        return f"kyn{self.number}-{self.cluster.id}"

    @property
    def slow_ends(self) -> tuple[str, str]:
        """While its link is slowed: one more pair of links, the first on the bridge; who slows is between the second
        and the uplink."""
        return f"kys{self.number}-{self.cluster.id}", f"kyt{self.number}-{self.cluster.id}"

    @property
    def data(self) -> Path:
        return self.cluster.data if self.is_machine else self.cluster.data / "nodes" / self.name

    @property
    def run(self) -> Path:
        return self.cluster.run if self.is_machine else self.cluster.run / "nodes" / self.name

    @property
    def runtime(self) -> Path:
        """What the container runtime keeps: sandboxes, containers, images."""
        return self.data / "runtime"

    @property
    def kubelet_settings(self) -> Path:
        return self.data / "kubelet.yaml"

    @property
    def credential_providers(self) -> Path:
        return self.data / "credential-providers.yaml"

    @property
    def cgroup(self) -> str:
        return f"{self.cluster.cgroup}/{self.name}"

    @property
    def keeper_socket(self) -> Path:
        return self.run / "keeper.sock"

    @property
    def images_socket(self) -> Path:
        return self.run / "images.sock"

    @property
    def serving_pair(self) -> str:
        """The file of the certificate that its kubelet shows."""
        return "kubelet-server" if self.is_machine else f"kubelet-server-{self.name}"

    def program(self, kind: str) -> str:
        """How a process of the node is called among the cluster's: `node`, and `node-two` on a node called two."""
        return kind if self.is_machine else f"{kind}-{self.name}"


def places(cluster: Cluster) -> Iterator[Place]:
    """Every node of this machine, the first one first."""
    yield Place(cluster=cluster, name=cluster.node_name, number=1, cpus=cluster.node_cpus, memory=cluster.node_memory)
    for node in cluster.further_nodes:
        yield Place(cluster=cluster, **asdict(node))


def first(cluster: Cluster) -> Place:
    return next(places(cluster))
