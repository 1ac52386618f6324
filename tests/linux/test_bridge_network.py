"""The pod network in real namespaces: packets between sandboxes and to services.

Everything happens in a network namespace made for the test, which stands in for the machine.
"""

import asyncio
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from kybern.linux import netns, nft
from kybern.linux.conntrack import forget_udp
from kybern.linux.netlink import Netlink
from kybern.network import bridge, rules
from kybern.network.bridge import POD_LINK, BridgeNetwork, link_name
from kybern.network.flows import stale
from kybern.network.nftables import Ruleset, transaction
from kybern.network.rules import HostPort, NodeNetwork, frame, host_port_rules, merged, service_rules
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
    nft.apply(frame(NODE) + transaction("ip", NODE.table, Ruleset(), merged((service_rules(ports, NODE),))))


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


def datagram_socket(namespace: Path) -> socket.socket:
    with netns.inside(str(namespace)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    return made


def open_host_ports(*ports: HostPort) -> None:
    nft.apply(frame(NODE) + transaction("ip", NODE.table, Ruleset(), merged((host_port_rules(ports, 4),))))


def host_port(address: str, host_ip: str, protocol: str, port: int) -> HostPort:
    return HostPort(host_ip=host_ip, protocol=protocol, host_port=54321, address=address, port=port)


def test_one_host_port_on_three_addresses_and_protocols_leads_to_three_pods(machine: Path, pods: Pods) -> None:
    (a, a_ip), (b, b_ip), (c, c_ip) = pods("a"), pods("b"), pods("c")
    open_host_ports(
        host_port(a_ip, "127.0.0.1", "tcp", 8080),
        host_port(b_ip, "10.199.0.1", "tcp", 8080),
        host_port(c_ip, "10.199.0.1", "udp", 8080),
    )
    here = machine / "machine"
    server = listen(a, a_ip, 8080)
    assert talks(connect(here, "127.0.0.1", 54321), server)
    client = socket_in(here)
    client.settimeout(5)
    client.bind(("10.199.0.1", 0))  # as curl --interface does
    server = listen(a, a_ip, 8080)
    client.connect(("127.0.0.1", 54321))
    assert talks(client, server)
    server = listen(b, b_ip, 8080)
    assert talks(connect(here, "10.199.0.1", 54321), server)
    with datagram_socket(c) as server_udp, datagram_socket(here) as client_udp:
        server_udp.bind((c_ip, 8080))
        client_udp.sendto(b"?", ("10.199.0.1", 54321))
        data, peer = server_udp.recvfrom(16)
        server_udp.sendto(data, peer)
        assert client_udp.recvfrom(16) == (b"?", ("10.199.0.1", 54321))


def send_frame(namespace: Path, ethertype: int, frame: bytes) -> None:
    """By hand, as NET_RAW allows, which every container has by default."""
    with netns.inside(str(namespace)), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype)) as raw:
        raw.bind((POD_LINK, ethertype))
        raw.send(frame)


def mac_in(namespace: Path) -> bytes:
    with Netlink(str(namespace)) as inside:
        link = inside.link(POD_LINK)
        assert link is not None
        return bytes.fromhex(link.address.replace(":", ""))


@pytest.mark.parametrize("guarded", [True, False])
def test_an_address_that_another_pod_claims_leads_there_only_without_the_defence(
    machine: Path, request: pytest.FixtureRequest, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E35, ARP: who claims a neighbour's address, and the gateway's, gets what is sent to them."""
    monkeypatch.setattr(bridge, "filter_frames", lambda links, index, program: None)  # would drop the claims
    if not guarded:
        monkeypatch.setattr(Netlink, "set_neighbour", lambda self, index, mac, address: None)
    pods: Pods = request.getfixturevalue("pods")
    (evil, _), (b, b_ip) = pods("evil"), pods("b")
    server = listen(b, b_ip, 80)
    assert talks(connect(machine / "machine", b_ip, 80), server)  # they have met
    mac = mac_in(evil)
    for address, seen_by in ((b_ip, machine / "machine"), ("10.199.0.1", b)):
        claimed = socket.inet_aton(address)
        reply = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, mac, claimed, mac, claimed)
        for _ in range(3):
            send_frame(evil, 0x0806, b"\xff" * 6 + mac + struct.pack("!H", 0x0806) + reply)
        assert (mac.hex(":") in neighbours(seen_by, address)) != guarded, address


def neighbours(namespace: Path, address: str) -> str:
    with netns.inside(str(namespace)):
        return subprocess.run(["ip", "neigh", "show", address], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("guarded", [True, False])
def test_a_pod_that_says_it_is_a_router_is_believed_only_without_the_defence(
    machine: Path, request: pytest.FixtureRequest, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E35, CVE-2020-10749: what the machine sends over IPv6 would go by the pod."""
    monkeypatch.setattr(bridge, "filter_frames", lambda links, index, program: None)  # would drop what it says
    if not guarded:
        monkeypatch.setattr(bridge, "trust_no_router", lambda bridge: None)
    pods: Pods = request.getfixturevalue("pods")
    evil, _ = pods("evil")
    deadline = time.monotonic() + 10
    while not says_that_it_is_a_router(evil):  # its address is still being checked for others who have it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server = listen(machine / "machine", "10.199.0.1", 80)
    assert talks(connect(evil, "10.199.0.1", 80), server)  # comes after it
    with netns.inside(str(machine / "machine")):
        found = subprocess.run(["ip", "-6", "route"], capture_output=True, text=True, check=True).stdout
    assert ("default" in found) != guarded, found


def says_that_it_is_a_router(namespace: Path) -> bool:
    """Whether the advertisement went out."""
    with netns.inside(str(namespace)), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        index = socket.if_nametoindex(POD_LINK)
        try:
            raw.sendto(struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0), ("ff02::1", 0, 0, index))
        except OSError:
            return False
    return True


def without_guard_of_loopback(network: NodeNetwork) -> str:
    return "".join(
        line for line in rules.frame(network).splitlines(keepends=True) if not line.strip().startswith("iifname != lo")
    )


@pytest.mark.parametrize("guarded", [True, False])
def test_a_node_port_answers_on_the_machines_loopback_and_pods_reach_that_only_without_the_defence(
    machine: Path, pods: Pods, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E26, CVE-2020-8558: node ports on the loopback need `route_localnet`, which would let neighbours in."""
    if not guarded:
        monkeypatch.setitem(globals(), "frame", without_guard_of_loopback)
    (a, _), (b, b_ip) = pods("a"), pods("b")
    program(web(Backend(b_ip, 8080), node_port=30080))
    server = listen(b, b_ip, 8080)
    assert talks(connect(machine / "machine", "127.0.0.1", 30080), server) == "10.199.0.1"
    secret = listen(machine / "machine", "127.0.0.1", 7777)
    with Netlink(str(a)) as inside:
        inside.ensure_route("127.0.0.1/32", index=inside.index(POD_LINK), gateway="10.199.0.1")
        inside.delete_address(inside.index("lo"), "127.0.0.1/8")
    with netns.inside(
        str(a)
    ):  # the answer is not refused there: whoever writes packets by hand needs no kernel's leave
        Path("/proc/sys/net/ipv4/conf/all/route_localnet").write_text("1")
    with socket_in(a) as client, secret:
        client.settimeout(0.3 if guarded else 5)
        assert (client.connect_ex(("127.0.0.1", 7777)) == 0) != guarded


def outside_client(machine: Path) -> Path:
    """Somebody on another network than the pods', who knows the way to the machine's addresses."""
    path = machine / "outside"
    netns.create(str(path))
    with Netlink() as here, Netlink(str(path)) as there:
        here.add_veth("toward", "eth0", str(path))
        index = here.index("toward")
        here.set_up(index)
        here.ensure_address(index, "192.0.2.1/24")
        link = there.index("eth0")
        there.set_up(there.index("lo"))
        there.set_up(link)
        there.ensure_address(link, "192.0.2.9/24")
        there.ensure_route("0.0.0.0/0", index=link, gateway="192.0.2.1")
    return path


def test_a_local_policy_keeps_the_clients_address_and_drops_where_the_node_has_no_endpoint(
    machine: Path, pods: Pods
) -> None:
    (a, _), (b, b_ip) = pods("a"), pods("b")
    outside = outside_client(machine)
    local = replace(web(Backend(b_ip, 8080), node_port=30080), outside_backends=(Backend(b_ip, 8080),))
    program(local)
    server = listen(b, b_ip, 8080)
    assert talks(connect(outside, "10.199.0.1", 30080), server) == "192.0.2.9"
    program(replace(local, outside_backends=()))
    client = socket_in(outside)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.connect(("10.199.0.1", 30080))
    client.close()
    server = listen(b, b_ip, 8080)  # pods are served by the endpoints of all nodes
    assert talks(connect(a, "10.199.0.1", 30080), server)
    netns.remove(str(outside))


def test_a_load_balancer_answers_outside_and_only_those_it_is_for(machine: Path, pods: Pods) -> None:
    b, b_ip = pods("b")
    outside = outside_client(machine)
    balanced = replace(web(Backend(b_ip, 8080)), external_ips=("10.199.200.7",))
    program(balanced)
    server = listen(b, b_ip, 8080)
    assert talks(connect(outside, "10.199.200.7", 80), server)
    program(replace(balanced, sources=("192.0.2.0/29",)))
    client = socket_in(outside)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.connect(("10.199.200.7", 80))
    client.close()
    program(replace(balanced, sources=("192.0.2.0/24",)))
    server = listen(b, b_ip, 8080)
    assert talks(connect(outside, "10.199.200.7", 80), server)
    netns.remove(str(outside))


def test_a_datagram_client_that_never_pauses_reaches_the_backend_that_took_over(machine: Path, pods: Pods) -> None:
    (a, _), (b, b_ip), (c, c_ip) = pods("a"), pods("b"), pods("c")

    def dns(*backends: Backend) -> ServicePort:
        return replace(web(*backends), protocol="udp", port=53)

    def follow(old: ServicePort, new: ServicePort) -> int:
        nft.apply(transaction("ip", NODE.table, part(old), part(new)))
        return forget_udp(stale({("default", "web"): [old]}, {("default", "web"): [new]}).is_stale)

    def part(port: ServicePort) -> Ruleset:
        return merged((service_rules((port,), NODE),))

    none, first, second = dns(), dns(Backend(b_ip, 5353)), dns(Backend(c_ip, 5353))
    program(none)
    with datagram_socket(a) as client, datagram_socket(b) as one, datagram_socket(c) as two:
        one.bind((b_ip, 5353))
        two.bind((c_ip, 5353))
        client.connect((SERVICE, 53))
        for old, new, server in ((none, first, one), (first, second, two)):
            follow(old, new)
            for _ in range(2):
                try:
                    client.send(b"?")
                    break
                except ConnectionRefusedError:
                    continue  # what an earlier datagram met
            assert server.recvfrom(16)[0] == b"?"
        assert follow(second, second) == 0, "nothing changed, so nothing is forgotten"


def test_a_thousand_services_are_programmed_and_one_of_them_changed_without_touching_the_others(machine: Path) -> None:
    ports = [
        replace(
            web(*(Backend(f"10.199.{i % 250}.{b}", 8080) for b in range(2, 12))),
            service=f"s{i}", cluster_ips=(f"10.198.{i // 250}.{i % 250 + 1}",), node_port=30000 + i,
        )
        for i in range(1000)
    ]  # fmt: skip
    parts = [service_rules((port,), NODE) for port in ports]
    before = merged(parts)
    nft.apply(frame(NODE) + transaction("ip", NODE.table, Ruleset(), before))
    changed = replace(ports[500], backends=ports[500].backends[:9])
    text = transaction("ip", NODE.table, before, merged((*parts[:500], service_rules((changed,), NODE), *parts[501:])))
    assert len(text.splitlines()) <= 3
    nft.apply(text)
    assert nft.listing("ip", NODE.table).count("numgen random mod 9") == 1


def seconds_to_send(source: Path, target: Path, address: str, size: int) -> float:
    server = listen(target, address, 9000)
    client = connect(source, address, 9000)
    accepted, _ = server.accept()
    began = time.monotonic()
    sender = threading.Thread(target=client.sendall, args=(bytes(size),))
    sender.start()
    left = size
    while left:
        left -= len(accepted.recv(1 << 16))
    sender.join()
    for each in (server, client, accepted):
        each.close()
    return time.monotonic() - began


def test_a_pods_bandwidth_is_limited_in_each_direction_on_its_own(
    machine: Path, network: BridgeNetwork, pods: Pods
) -> None:
    other, other_ip = pods("other")
    path = machine / "slow"
    netns.create(str(path))
    annotations = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "32M"}
    (ip,) = asyncio.run(network.attach("slow", str(path), replace(CONFIG, annotations=annotations)))
    assert 0.7 < seconds_to_send(other, path, ip, 1_000_000) < 3
    assert 0.15 < seconds_to_send(path, other, other_ip, 1_000_000) < 0.65
    asyncio.run(network.detach("slow", str(path)))
    netns.remove(str(path))


def test_a_pod_gets_the_address_it_asks_for_and_another_is_told_that_it_is_taken(
    machine: Path, network: BridgeNetwork, pods: Pods
) -> None:
    (other, _), wanted = pods("other"), replace(CONFIG, annotations={"network.kybern.io/address": "10.199.250.7"})
    paths = [machine / "one", machine / "two"]
    for path in paths:
        netns.create(str(path))
    for _ in range(2):  # again after it was given back
        assert asyncio.run(network.attach("one", str(paths[0]), wanted)) == ("10.199.250.7",)
        server = listen(paths[0], "10.199.250.7", 8080)
        assert talks(connect(other, "10.199.250.7", 8080), server)
        with pytest.raises(OSError, match="in use on this node"):
            asyncio.run(network.attach("two", str(paths[1]), wanted))
        asyncio.run(network.detach("one", str(paths[0])))
    with Netlink() as here:
        assert not [route for route in here.routes() if route.destination.startswith("10.199.250")]
    for path in paths:
        netns.remove(str(path))
