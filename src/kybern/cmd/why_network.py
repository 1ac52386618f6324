"""`kybern why service/NAME`, `kybern why pod/A --to pod/B:PORT`: the way of a packet, and the first step that fails.

The API is asked for everything that is in it. Rules, routes and sockets are looked at where this command runs as root on
the machine of the nodes.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from kybern.api.core_v1 import Namespace, Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.networking_v1 import NetworkPolicy
from kybern.cli.kubectl.session import CommandFailed, open_session
from kybern.client import Client
from kybern.cmd import config
from kybern.cmd.complaints import all_cidrs, links_of
from kybern.cmd.config import Cluster
from kybern.cmd.place import places
from kybern.cmd.progress import on_one_line
from kybern.linux import nft, sockets
from kybern.linux.firewall import foreign
from kybern.linux.netlink import Netlink
from kybern.network.explaining.steps import Known, Step
from kybern.network.explaining.way import explain_pod, explain_service
from kybern.network.policy.model import World, endpoint_of
from kybern.network.policy.rules import FAMILIES
from kybern.runtime import disk
from kybern.runtime.sandboxes import SandboxRecord

MARKS = {True: "✓", False: "✗", None: "·"}


class LocalMachine:
    """The nodes of this machine, where there are some and we may look."""

    def __init__(self, cluster: Cluster | None) -> None:
        self.cluster = cluster if os.geteuid() == 0 and cluster is not None and not cluster.simulated else None

    def rules(self, address: str, protocol: str, port: int) -> str | None:
        if self.cluster is None or self.cluster.service_proxy == "none":
            return None
        listed = nft.listing(nft_family(address), self.cluster.table)
        if not listed:
            return f"the service proxy's table {self.cluster.table} is not there"
        known = f"{address} . {protocol} . {port} : goto" in " ".join(listed.split())
        return "" if known else f"the service proxy has no rule for {address} port {port}/{protocol}"

    def route(self, pod: Pod) -> str | None:
        place = next((p for p in places(self.cluster) if p.name == pod.spec.node_name), None) if self.cluster else None
        if place is None:
            return None
        if place.off:
            return f"node {place.name} is off: it was killed"
        if place.netns is None:
            return ""
        with Netlink() as here:
            link = here.link(place.uplink)
        if link is None:
            return f"node {place.name} has no link"
        return "" if link.up else f"the link of node {place.name} is down: it is cut off"

    def firewall(self) -> str | None:
        if self.cluster is None:
            return None
        return "; ".join(foreign("kybern-", links_of(self.cluster), all_cidrs(self.cluster)))

    def listening(self, pod: Pod, protocol: str, port: int) -> str | None:
        namespace = self.namespace_of(pod)
        if not namespace or protocol not in sockets.LISTENING:
            return None
        found = {ip_address(text) for text in sockets.listening(namespace, protocol, port)}
        own = {ip_address(ip.ip) for ip in pod.status.pod_ips or ()}
        if any(address.is_unspecified or address in own for address in found):
            return ""
        if found:
            return f"{pod.metadata.name} listens on port {port} of {', '.join(map(str, found))} only, not of its own address"
        return f"nothing in {pod.metadata.name} listens on port {port}/{protocol}"

    def has_dropped(self, at: str, source: str, target: str, protocol: str, port: int) -> bool:
        place = next((p for p in places(self.cluster) if p.name == at), None) if self.cluster else None
        if place is None:
            return False
        listed = nft.listing(nft_family(source), f"{place.cluster.table}-policy", place.netns)
        return f"{source} . {target} . {protocol} . {port} " in " ".join(listed.split())

    def namespace_of(self, pod: Pod) -> str:
        for place in places(self.cluster) if self.cluster else ():
            for identifier in disk.names(place.runtime / "sandboxes"):
                record = disk.load(place.runtime / "sandboxes" / identifier / "config.json", SandboxRecord)
                path = place.run / "sandboxes" / identifier / "network"
                if record and record.ready and record.config.metadata.uid == pod.metadata.uid and path.exists():
                    return str(path)
        return ""


def nft_family(address: str) -> str:
    return FAMILIES[ip_address(address).version][0]


def run(args: argparse.Namespace) -> int:
    """0 where nothing is wrong, 1 where something is."""
    steps = asyncio.run(explained(args))
    print("\n".join(map(on_one_line, text_of(steps))))
    return 1 if any(step.ok is False for step in steps) else 0


async def explained(args: argparse.Namespace) -> list[Step]:
    async with open_session(args.context, args.namespace, args.kubeconfig) as session:
        known = await everything(Client(session.client, user_agent="kybern-why"))
        namespace = session.namespace
    machine = LocalMachine(config.saved(args.data_dir))
    kind, name = args.subject
    source = pod_of(known, namespace, name) if kind == "pod" else None
    subject, target, port = (kind, name, args.port) if source is None else args.to
    of, slash, bare = target.partition("/")
    place, target = (of, bare) if slash else (namespace, target)
    if subject == "service":
        return list(explain_service(known, machine, place, target, port, source))
    pod = pod_of(known, place, target)
    ports = [p.container_port for c in pod.spec.containers for p in c.ports or ()]
    return list(explain_pod(known, machine, source, pod, port or (ports[0] if ports else 80), "tcp"))


def pod_of(known: Known, namespace: str, name: str) -> Pod:
    for pod in known.pods:
        if (pod.metadata.namespace, pod.metadata.name) == (namespace, name):
            return pod
    raise CommandFailed(f'pods "{name}" not found')


async def everything(client: Client) -> Known:
    pods, namespaces = await client.list(Pod), await client.list(Namespace)
    policies = await client.list(NetworkPolicy)
    labels = {found.metadata.name or "": found.metadata.labels or {} for found in namespaces}
    endpoints = [found for pod in pods if (found := endpoint_of(pod)) is not None]
    return Known(
        services=await client.list(Service),
        slices=await client.list(EndpointSlice),
        pods=pods,
        nodes=await client.list(Node),
        world=World(policies, endpoints, labels),
    )


def text_of(steps: Sequence[Step]) -> Iterator[str]:
    """The cause first, with the way out; then the way."""
    failed = next((step for step in steps if step.ok is False), None)
    yield failed.said if failed else "every step that could be looked at is as it should be"
    if failed and failed.fix:
        yield f"fix: {failed.fix}"
    yield ""
    yield from (f"{MARKS[step.ok]} {step.about:<10} {step.said}" for step in steps)


def place_of(text: str) -> tuple[str, str, int]:
    """`pod/NAME:PORT`, `service/NAMESPACE/NAME:PORT`, the port left out where there is one only."""
    kind, slash, rest = text.partition("/")
    name, _, port = rest.partition(":")
    short = {"pod": "pod", "pods": "pod", "po": "pod", "service": "service", "services": "service", "svc": "service"}
    if not slash or kind not in short or not name or (port and not port.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no place: pod/NAME:PORT or service/NAME")
    return short[kind], name, int(port or 0)
