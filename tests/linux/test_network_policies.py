"""NetworkPolicy with real packets: generated sets of policies, and what an independent model says about every pair of pods.

The model below reads the specification and knows nothing of nftables. The pods are namespaces of one machine, which is a
namespace made for the test; each listens on two ports, for TCP and UDP, and every pair is tried both ways.
"""

import asyncio
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Namespace, Pod
from kybern.api.networking_v1 import NetworkPolicy
from kybern.linux import netns, nft
from kybern.network.bridge import BridgeNetwork
from kybern.network.own_tables import OwnTables
from kybern.network.policy.enforcing import PolicyEnforcer
from kybern.network.policy.model import World, endpoint_of
from kybern.network.policy.verdict import dropped
from kybern.runtime.cri import PodSandboxConfig, SandboxMetadata

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

SETS = int(os.environ.get("POLICY_SETS", "300"))
STARTS = int(os.environ.get("POLICY_STARTS", "100"))
SEED = int(os.environ.get("POLICY_SEED", "1"))
TABLE = "kybern-test-policy"
NAMESPACES = {"x": {"team": "a"}, "y": {"team": "b"}, "z": {"team": "b", "tier": "low"}}
NAMES = {"a": {"app": "web"}, "b": {"app": "db"}, "c": {"app": "db", "part": "2"}}
PORTS = {8080: "serve-80", 8081: "serve-81"}
ANSWER_SECONDS_MAX = 5.0  # for what should be answered, on a busy machine
QUIET_SECONDS = 0.05  # after that, for what should not

# The model: NetworkPolicy as the API's documentation describes it.


@dataclass(frozen=True)
class Modelled:
    namespace: str
    name: str
    ip: str
    labels: dict[str, str] = field(hash=False)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        key, values = expression["key"], expression.get("values", [])
        holds = {
            "In": labels.get(key) in values, "NotIn": labels.get(key) not in values,
            "Exists": key in labels, "DoesNotExist": key not in labels,
        }[expression["operator"]]  # fmt: skip
        if not holds:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def peer_holds(peer: dict[str, Any], pod: Modelled, namespace: str) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = ip_address(pod.ip) in ip_network(block["cidr"])
        return inside and not any(ip_address(pod.ip) in ip_network(e) for e in block.get("except", []))
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], NAMESPACES[pod.namespace]):
            return False
    elif pod.namespace != namespace:
        return False
    return matches(peer.get("podSelector", {}), pod.labels)


def port_holds(port: dict[str, Any], protocol: str, number: int) -> bool:
    if port.get("protocol", "TCP") != protocol:
        return False
    wanted = port.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return PORTS[number] == wanted and protocol == "TCP"  # only TCP's ports have names here
    return bool(wanted <= number <= port.get("endPort", wanted))


def direction_allows(
    policies: list[dict[str, Any]], kind: str, of: Modelled, other: Modelled, protocol: str, number: int
) -> bool:
    found = [
        policy for policy in policies
        if policy["metadata"]["namespace"] == of.namespace
        and kind in policy["spec"]["policyTypes"]
        and matches(policy["spec"]["podSelector"], of.labels)
    ]  # fmt: skip
    if not found:
        return True
    rules_key, peers_key = ("ingress", "from") if kind == "Ingress" else ("egress", "to")
    for policy in found:
        for rule in policy["spec"].get(rules_key, []):
            peers, ports = rule.get(peers_key), rule.get("ports")
            who = not peers or any(peer_holds(peer, other, of.namespace) for peer in peers)
            what = not ports or any(port_holds(port, protocol, number) for port in ports)
            if who and what:
                return True
    return False


def allowed(policies: list[dict[str, Any]], a: Modelled, b: Modelled, protocol: str, number: int) -> bool:
    if a == b:
        return True
    return direction_allows(policies, "Egress", a, b, protocol, number) and direction_allows(
        policies, "Ingress", b, a, protocol, number
    )


# The generator.


def generated(rng: random.Random, ips: list[str]) -> list[dict[str, Any]]:
    return [policy(rng, f"p{i}", ips) for i in range(rng.choice((1, 1, 2, 3)))]


def policy(rng: random.Random, name: str, ips: list[str]) -> dict[str, Any]:
    types = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    spec: dict[str, Any] = {"podSelector": selector(rng, "app", ("web", "db")), "policyTypes": types}
    for kind, key, peers in (("Ingress", "ingress", "from"), ("Egress", "egress", "to")):
        if kind in types and rng.random() < 0.85:
            spec[key] = [rule(rng, peers, ips) for _ in range(rng.choice((0, 1, 1, 2)))]
    return {"metadata": {"name": name, "namespace": rng.choice(list(NAMESPACES)), "uid": name}, "spec": spec}


def selector(rng: random.Random, key: str, values: tuple[str, ...]) -> dict[str, Any]:
    return rng.choice((
        {}, {}, {"matchLabels": {key: rng.choice(values)}},
        {"matchExpressions": [{"key": key, "operator": rng.choice(("In", "NotIn")), "values": [rng.choice(values)]}]},
        {"matchExpressions": [{"key": rng.choice(("part", "tier")), "operator": rng.choice(("Exists", "DoesNotExist"))}]},
    ))  # fmt: skip


def rule(rng: random.Random, peers: str, ips: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if rng.random() < 0.8:
        made[peers] = [peer(rng, ips) for _ in range(rng.choice((1, 1, 2)))]
    if rng.random() < 0.6:
        made["ports"] = [port(rng) for _ in range(rng.choice((1, 1, 2)))]
    return made


def peer(rng: random.Random, ips: list[str]) -> dict[str, Any]:
    kind = rng.randrange(4)
    if kind == 0:
        block: dict[str, Any] = {"cidr": rng.choice(("10.199.0.0/24", "0.0.0.0/0", f"{rng.choice(ips)}/32"))}
        if not block["cidr"].endswith("/32") and rng.random() < 0.6:
            block["except"] = sorted({f"{rng.choice(ips)}/32" for _ in range(2)})
        return {"ipBlock": block}
    made = {}
    if kind in (1, 3):
        made["podSelector"] = selector(rng, "app", ("web", "db"))
    if kind in (2, 3):
        made["namespaceSelector"] = selector(rng, "team", ("a", "b"))
    return made


def port(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any] = {"protocol": rng.choice(("TCP", "UDP", "SCTP", "TCP"))}
    kind = rng.randrange(4)
    if kind == 1:
        made["port"] = rng.choice(list(PORTS))
    elif kind == 2:
        made |= {"port": 8000, "endPort": rng.choice((8080, 9000))}
    elif kind == 3:
        made |= {"port": rng.choice(list(PORTS.values())), "protocol": "TCP"}
    return made


# The machine.


class Api:
    """As much of a View as the enforcer reads."""

    def __init__(self) -> None:
        self.objects: dict[type[Any], Sequence[Any]] = {NetworkPolicy: [], Pod: [], Namespace: []}
        self.calls: list[Any] = []

    def list(self, kind: type[Any], namespace: str | None = None) -> Any:
        return self.objects[kind]

    def get(self, kind: type[Any], name: str, namespace: str = "") -> Any:
        return next(
            (o for o in self.objects[kind] if (o.metadata.namespace or "", o.metadata.name) == (namespace, name)), None
        )

    def on_change(self, kind: type[Any], call: Any) -> None:
        self.calls.append(call)

    def put(self, kind: type[Any], objects: Sequence[Any]) -> None:
        self.objects[kind] = objects
        for call in self.calls:
            call(None, None)


@dataclass
class Lab:
    root: Path
    api: Api
    enforcer: PolicyEnforcer
    network: BridgeNetwork
    pods: list[Modelled] = field(default_factory=list)

    def namespace_of(self, pod: Modelled) -> str:
        return str(self.root / f"{pod.namespace}-{pod.name}")

    async def start(self, namespace: str, name: str, labels: dict[str, str]) -> Modelled:
        path = str(self.root / f"{namespace}-{name}")
        netns.create(path)
        uid = f"{namespace}-{name}"
        config = PodSandboxConfig(metadata=SandboxMetadata(name=name, namespace=namespace, uid=uid), labels=labels)
        (ip,) = await self.network.attach(uid, path, config)
        return Modelled(namespace, name, ip, labels)

    async def stop(self, pod: Modelled) -> None:
        await self.network.detach(f"{pod.namespace}-{pod.name}", self.namespace_of(pod))
        netns.remove(self.namespace_of(pod))


async def apply(text: str) -> None:
    nft.apply(text)


def pod_object(pod: Modelled) -> Pod:
    ports = [{"name": name, "containerPort": number, "protocol": "TCP"} for number, name in PORTS.items()]
    return from_builtins(Pod, {
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": f"{pod.namespace}-{pod.name}", "labels": pod.labels},
        "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]},
        "status": {"podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "phase": "Running"},
    })  # fmt: skip


@pytest.fixture
def lab(machine: Path) -> Iterator[Lab]:
    api = Api()
    api.objects[Namespace] = [
        from_builtins(Namespace, {"metadata": {"name": n, "labels": on}}) for n, on in NAMESPACES.items()
    ]
    enforcer = PolicyEnforcer(api, apply, TABLE, (4,))
    network = BridgeNetwork("kyb-test", machine / "addresses", (IPv4Network("10.198.0.0/16"),), guard=enforcer)
    network.configure(("10.199.0.0/24",))
    enforcer.adopt(())
    yield Lab(machine, api, enforcer, network)
    for path in machine.iterdir():
        if path.name != "machine" and netns.exists(str(path)):
            netns.remove(str(path))


def socket_in(path: str, kind: int) -> socket.socket:
    with netns.inside(path):
        made = socket.socket(socket.AF_INET, kind)
    made.setblocking(False)
    return made


class Listeners:
    """Every pod answers on its ports: TCP by accepting, UDP by an echo. One thread serves them all."""

    def __init__(self, lab: Lab) -> None:
        self.poll, self.sockets, self.stopped = select.epoll(), {}, False
        for pod in lab.pods:
            for number in PORTS:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    made = socket_in(lab.namespace_of(pod), kind)
                    made.bind((pod.ip, number))
                    if kind == socket.SOCK_STREAM:
                        made.listen(64)
                    self.sockets[made.fileno()] = made
                    self.poll.register(made, select.EPOLLIN)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        while not self.stopped:
            for descriptor, _ in self.poll.poll(0.05):
                found = self.sockets[descriptor]
                try:
                    if found.type == socket.SOCK_STREAM:
                        found.accept()[0].close()
                    else:
                        found.sendto(b"!", found.recvfrom(16)[1])
                except OSError:
                    pass

    def close(self) -> None:
        self.stopped = True
        self.thread.join()
        for found in self.sockets.values():
            found.close()


Cell = tuple[Modelled, Modelled, str, int]


def probe(lab: Lab, expected: Callable[[Cell], bool] = lambda cell: True) -> dict[Cell, bool]:
    """Everything to everybody at once. What is expected to be answered is waited for; the rest has had its time then."""
    poll, waiting, found = select.epoll(), {}, {}
    for a in lab.pods:
        for b in lab.pods:
            for number in PORTS:
                for kind, protocol in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
                    made = socket_in(lab.namespace_of(a), kind)
                    cell = (a, b, protocol, number)
                    found[cell] = False
                    waiting[made.fileno()] = (made, cell)
                    made.connect_ex((b.ip, number))
                    if kind == socket.SOCK_DGRAM:
                        made.send(b"?")
                    poll.register(made, select.EPOLLOUT if kind == socket.SOCK_STREAM else select.EPOLLIN)
    wanted = {cell for cell in found if expected(cell)}
    for seconds, until in ((ANSWER_SECONDS_MAX, lambda: not wanted), (QUIET_SECONDS, lambda: False)):
        deadline = time.monotonic() + seconds
        while not until() and (remaining := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(remaining):
                made, cell = waiting[descriptor]
                found[cell] = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                wanted.discard(cell)
                poll.unregister(descriptor)
    for made, _ in waiting.values():
        made.close()
    return found


def every_cell(lab: Lab) -> list[Cell]:
    pairs = [(a, b) for a in lab.pods for b in lab.pods]
    return [(a, b, protocol, number) for a, b in pairs for protocol in ("TCP", "UDP") for number in PORTS]


async def test_every_pair_of_pods_is_allowed_what_the_policies_allow_and_nothing_else(lab: Lab) -> None:
    running = asyncio.get_running_loop().create_task(lab.enforcer.run())
    for namespace in NAMESPACES:
        for name, labels in NAMES.items():
            lab.pods.append(await lab.start(namespace, name, labels))
    lab.api.put(Pod, [pod_object(pod) for pod in lab.pods])
    rng = random.Random(SEED)
    listeners = Listeners(lab)
    wrong, cells, dropped = [], 0, 0
    try:
        for number in range(SETS):
            policies = generated(rng, [pod.ip for pod in lab.pods])
            lab.api.put(NetworkPolicy, [from_builtins(NetworkPolicy, p) for p in policies])
            await lab.enforcer.sync()
            expected = {cell: allowed(policies, *cell) for cell in every_cell(lab)}
            for cell, passed in probe(lab, expected.__getitem__).items():
                cells, dropped = cells + 1, dropped + (not expected[cell])
                if passed != expected[cell]:
                    wrong.append((number, cell, f"passed: {passed}", policies))
    finally:
        listeners.close()
        running.cancel()
    print(f"{cells} cells, {dropped} of them to be dropped, {len(wrong)} wrong")
    assert not wrong, f"{len(wrong)} of {cells} cells, seed {SEED}: {wrong[:2]}"
    assert 0.1 < dropped / cells < 0.9


DENY = {
    "metadata": {"name": "deny", "namespace": "x", "uid": "d"},
    "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
}


async def test_not_one_packet_of_a_pod_that_starts_under_a_default_deny_gets_out(lab: Lab) -> None:
    running = asyncio.get_running_loop().create_task(lab.enforcer.run())
    target = await lab.start("y", "target", {})
    lab.api.put(NetworkPolicy, [from_builtins(NetworkPolicy, DENY)])
    server = socket_in(lab.namespace_of(target), socket.SOCK_DGRAM)
    server.bind((target.ip, 8080))
    for number in range(STARTS):
        path = str(lab.root / f"x-p{number}")
        netns.create(path)
        sender = socket_in(path, socket.SOCK_DGRAM)  # there before the network is: it sends from the first moment on
        stopped = threading.Event()

        def send(sender: socket.socket = sender, stopped: threading.Event = stopped) -> None:
            while not stopped.is_set():
                try:
                    sender.sendto(b"leak", (target.ip, 8080))
                except OSError:
                    pass
                time.sleep(0.0002)

        thread = threading.Thread(target=send)
        thread.start()
        made = await lab.start("x", f"p{number}", {})
        await asyncio.sleep(0.005)
        stopped.set()
        thread.join()
        sender.close()
        await lab.stop(made)
    with pytest.raises(BlockingIOError):
        server.recv(16)
    server.close()
    running.cancel()


async def test_rules_stay_when_the_process_ends_and_the_next_one_takes_them_over(lab: Lab) -> None:
    running = asyncio.get_running_loop().create_task(lab.enforcer.run())
    lab.api.put(NetworkPolicy, [from_builtins(NetworkPolicy, DENY)])
    lab.pods = [await lab.start("x", "a", {}), await lab.start("y", "b", {})]
    running.cancel()
    before = nft.listing("ip", TABLE)
    assert "egress-" in before
    listeners = Listeners(lab)
    a, b = lab.pods

    def from_b(cell: Cell) -> bool:
        return cell[0] == b

    try:
        assert not probe(lab, from_b)[a, b, "TCP", 8080]
        following = PolicyEnforcer(lab.api, apply, TABLE, (4,))
        following.local = lab.enforcer.local
        await following.sync()
        assert not probe(lab, from_b)[a, b, "TCP", 8080]
        lab.api.put(NetworkPolicy, [])
        await following.sync()
        assert probe(lab)[a, b, "TCP", 8080]
    finally:
        listeners.close()


async def test_policies_are_in_force_again_when_somebody_has_flushed_all_tables(lab: Lab) -> None:
    lab.api.put(NetworkPolicy, [from_builtins(NetworkPolicy, DENY)])
    tables = OwnTables(SystemClock(), str(lab.root / "machine"))
    enforcer = lab.enforcer
    enforcer.apply = tables.apply
    tables.on_touched(TABLE, enforcer.distrust)
    began = asyncio.Event()
    running = [asyncio.create_task(part) for part in (tables.watch(began.set), enforcer.run())]
    await began.wait()
    lab.pods = [await lab.start("x", "a", {}), await lab.start("y", "b", {})]
    before = nft.listing("ip", TABLE)
    nft.apply("flush ruleset\n")
    assert not nft.listing("ip", TABLE)
    async with asyncio.timeout(10):
        while "egress-" not in nft.listing("ip", TABLE):
            await asyncio.sleep(0)
    assert nft.listing("ip", TABLE) == before
    for task in running:
        task.cancel()


def test_what_is_told_of_a_packet_is_what_the_model_says_of_it() -> None:
    """The same generated sets, without packets: `kybern why` must blame whom the rules drop for."""
    pods = [
        Modelled(space, name, f"10.199.0.{2 + number}", labels)
        for number, (space, name, labels) in enumerate(
            (space, name, labels) for space in NAMESPACES for name, labels in NAMES.items()
        )
    ]
    endpoints = {pod: found for pod in pods if (found := endpoint_of(pod_object(pod))) is not None}
    rng = random.Random(SEED)
    for _ in range(100):
        policies = generated(rng, [pod.ip for pod in pods])
        world = World([from_builtins(NetworkPolicy, p) for p in policies], list(endpoints.values()), NAMESPACES)
        for a in pods:
            for b in pods:
                for protocol in ("TCP", "UDP"):
                    for number in PORTS:
                        found = dropped(world, endpoints[a], endpoints[b], protocol.lower(), number)
                        assert (found is None) == allowed(policies, a, b, protocol, number), (a, b, protocol, policies)
