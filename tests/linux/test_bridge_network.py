"""The pod network in real namespaces: packets between sandboxes and to services.

Everything happens in a network namespace made for the test, which stands in for the machine.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from kybern.linux import netns, nft
from kybern.linux.netlink import Netlink
from kybern.network.bridge import POD_LINK, BridgeNetwork, link_name
from kybern.network.nftables import Ruleset, transaction
from kybern.network.rules import NodeNetwork, frame, ruleset
from kybern.network.services import Backend, ServicePort
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

NODE = NodeNetwork(
    table="kybern-test", node_addresses=("10.199.0.1",), node_pod_cidr="10.199.0.0/24", cluster_pod_cidr="10.199.0.0/16"
)
CONFIG = PodSandboxConfig(metadata=SandboxMetadata(name="p", namespace="d", uid="u"))
SERVICE = "10.198.0.9"

Pods = Callable[[str], tuple[Path, str]]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Path]:
    """A namespace to be the machine, in which the test's own process works."""
    path = str(tmp_path / "machine")
    netns.create(path)
    with netns.inside(path):
        with Netlink() as here:
            here.set_up(here.index("lo"))
        yield tmp_path
    netns.remove(path)


@pytest.fixture
def network(machine: Path) -> BridgeNetwork:
    made = BridgeNetwork("kyb-test", machine / "addresses", (IPv4Network("10.198.0.0/16"),))
    made.configure(("10.199.0.0/24",))
    made.configure(("10.199.0.0/24",))
    return made


@pytest.fixture
def pods(machine: Path, network: BridgeNetwork) -> Iterator[Pods]:
    made: list[Path] = []

    def pod(name: str) -> tuple[Path, str]:
        path = machine / name
        netns.create(str(path))
        made.append(path)
        (address,) = asyncio.run(network.attach(name, str(path), CONFIG))
        return path, address

    yield pod
    for path in made:
        asyncio.run(network.detach(path.name, str(path)))
        netns.remove(str(path))


def listen(namespace: Path, address: str, port: int) -> socket.socket:
    server = socket_in(namespace)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen()
    server.settimeout(5)
    return server


def socket_in(namespace: Path) -> socket.socket:
    with netns.inside(str(namespace)):
        return socket.socket()


def connect(namespace: Path, address: str, port: int) -> socket.socket:
    client = socket_in(namespace)
    client.settimeout(5)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def talks(client: socket.socket, server: socket.socket) -> str:
    """The address that the server sees, once a byte came back."""
    with client:
        accepted, peer = server.accept()
        with accepted:
            accepted.sendall(b"!")
            assert client.recv(1) == b"!"
    server.close()
    return str(peer[0])


def program(*ports: ServicePort) -> None:
    nft.apply(frame(NODE) + transaction("ip", NODE.table, Ruleset(), ruleset(ports)))


def web(*backends: Backend, node_port: int = 0, affinity_seconds: int = 0) -> ServicePort:
    return ServicePort(
        namespace="default", service="web", name="", protocol="tcp", port=80, cluster_ips=(SERVICE,),
        backends=backends, node_port=node_port, affinity_seconds=affinity_seconds,
    )  # fmt: skip


def test_a_pod_reaches_another_without_translation(pods: Pods) -> None:
    (a, a_ip), (b, b_ip) = pods("a"), pods("b")
    server = listen(b, b_ip, 8080)
    assert talks(connect(a, b_ip, 8080), server) == a_ip


def test_the_machine_and_its_pods_reach_each_other(machine: Path, pods: Pods) -> None:
    a, a_ip = pods("a")
    server = listen(a, a_ip, 80)
    assert talks(connect(machine / "machine", a_ip, 80), server) == "10.199.0.1"
    server = listen(machine / "machine", "10.199.0.1", 6443)
    assert talks(connect(a, "10.199.0.1", 6443), server) == a_ip


def test_a_service_leads_to_a_backend_from_pods_and_from_the_machine(machine: Path, pods: Pods) -> None:
    (a, a_ip), (b, b_ip) = pods("a"), pods("b")
    program(web(Backend(b_ip, 8080)))
    server = listen(b, b_ip, 8080)
    assert talks(connect(a, SERVICE, 80), server) == a_ip
    server = listen(b, b_ip, 8080)
    assert talks(connect(machine / "machine", SERVICE, 80), server) == "10.199.0.1"


def test_a_pod_reaches_itself_through_its_service(pods: Pods) -> None:
    a, a_ip = pods("a")
    program(web(Backend(a_ip, 8080)))
    server = listen(a, a_ip, 8080)
    assert talks(connect(a, SERVICE, 80), server) == "10.199.0.1"


def test_a_node_port_answers_on_the_nodes_address(machine: Path, pods: Pods) -> None:
    (a, _), (b, b_ip) = pods("a"), pods("b")
    program(web(Backend(b_ip, 8080), node_port=30080))
    for client in (machine / "machine", a):
        server = listen(b, b_ip, 8080)
        assert talks(connect(client, "10.199.0.1", 30080), server)


def test_a_service_without_backends_refuses_at_once(pods: Pods) -> None:
    a, _ = pods("a")
    program(web())
    with pytest.raises(ConnectionRefusedError):
        connect(a, SERVICE, 80)


def test_a_port_that_a_service_does_not_have_is_refused(pods: Pods) -> None:
    (a, _), (_, b_ip) = pods("a"), pods("b")
    program(web(Backend(b_ip, 8080)))
    with pytest.raises(ConnectionRefusedError):
        connect(a, SERVICE, 81)


@pytest.mark.parametrize(("affinity_seconds", "reached"), [(10, 1), (0, 3)])
def test_client_affinity_keeps_a_client_at_one_backend(pods: Pods, affinity_seconds: int, reached: int) -> None:
    a, _ = pods("a")
    servers = [listen(path, ip, 8080) for path, ip in (pods("b"), pods("c"), pods("d"))]
    program(web(*(Backend(s.getsockname()[0], 8080) for s in servers), affinity_seconds=affinity_seconds))
    clients = [connect(a, SERVICE, 80) for _ in range(40)]
    assert len({server for server in servers if has_waiting(server)}) == reached
    for connection in (*clients, *servers):
        connection.close()


def has_waiting(server: socket.socket) -> bool:
    server.setblocking(False)
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_attaching_and_detaching_twice_do_no_harm(machine: Path, network: BridgeNetwork) -> None:
    path = machine / "pod"
    netns.create(str(path))
    first = asyncio.run(network.attach("pod", str(path), CONFIG))
    assert asyncio.run(network.attach("pod", str(path), CONFIG)) == first
    with Netlink(str(path)) as inside:
        assert inside.link(POD_LINK)
    asyncio.run(network.detach("pod", str(path)))
    asyncio.run(network.detach("pod", str(path)))
    with Netlink() as here:
        assert here.link(link_name("pod")) is None
    netns.remove(str(path))
    assert list((machine / "addresses" / "ipv4").iterdir()) == []
