"""`kybern node`: the nodes of this machine, on the live cluster: one more, one less, cut off, slowed, killed, healed.

What there is to be is written to the cluster's note; the supervisor is told to look, and makes it so. So a cluster that
is down is changed in the same way, and comes up as it was left. Only a cut cable is not remembered: it is the link itself.
"""

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from kybern.cmd import config, rootless, running
from kybern.cmd.arguments import add_data_dir, cpu_amount, memory_amount, node_name
from kybern.cmd.config import NODES_MAX, Cluster, NodeSettings
from kybern.cmd.launch import READY_SECONDS, wait_for_nodes
from kybern.cmd.place import Place, places
from kybern.cmd.progress import Progress
from kybern.cmd.turns import Turn

STOP_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 0.02


class Refused(Exception):
    """What cannot be done, and what can be done instead."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    actions.add_parser("ls", help="list the nodes of this machine")
    adding = actions.add_parser("add", help="start one more node")
    adding.add_argument("name", nargs="?", type=node_name, help="default: the first node's with a number")
    adding.add_argument("--cpus", type=cpu_amount, help="how many it may use, `1.5` or `500m`")
    adding.add_argument("--memory", type=memory_amount, help="how much it may use, `2Gi`")
    delaying = actions.add_parser("delay", help="slow a node's link down, in both directions")
    delaying.add_argument("name")
    delaying.add_argument("--ms", type=milliseconds, default=100, help="for each packet (default %(default)s)")
    delaying.add_argument("--loss", type=percent, default=0, help="per cent of the packets that get lost")
    for action, text in (
        ("remove", "stop a node and forget it"),
        ("partition", "cut a node off from all others: its link goes down"),
        ("kill", "kill everything on a node at once, as when its power fails"),
        ("heal", "undo partition, delay and kill"),
    ):
        actions.add_parser(action, help=text).add_argument("name")
    add_data_dir(parser, actions.choices.values())


def milliseconds(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 60_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of milliseconds (1-60000)")
    return int(text)


def percent(text: str) -> int:
    if not text.isdecimal() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage (0-100)")
    return int(text)


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    with Turn(config.run_root()):
        cluster = config.saved(args.data_dir)
        if cluster is None:
            return progress.failed(f"there is no cluster in {args.data_dir}", "kybern up")
        if cluster.joined:
            return progress.failed(f"this machine is a node of {cluster.joined}, and has no others", "run it there")
        return rootless.inside(cluster, lambda: act(cluster, args, progress))


def act(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    try:
        return ACTIONS[args.action](cluster, args, progress)
    except Refused as refused:
        return progress.failed(str(refused), refused.fix)


def add(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    from kybern.cmd.credentials import prepare
    from kybern.cmd.links import ensure_node_bridge, ensure_place

    grown = with_another(cluster, args.name, args.cpus or cluster.node_cpus, args.memory or cluster.node_memory)
    name = grown.further_nodes[-1].name
    config.save(grown)
    prepare(grown, time.time())
    if is_up(grown):
        if not grown.simulated:
            ensure_node_bridge(grown)
        ensure_place(further(grown, name))
        change(grown)
        missing = wait_for_nodes(grown, progress)
        if missing:
            return progress.failed(f"after {READY_SECONDS:.0f} s still waiting: {missing}", f"look into {grown.logs}")
    progress.done(f"node {name} is {'Ready' if is_up(grown) else 'there when the cluster is up'}")
    return 0


def with_another(cluster: Cluster, name: str | None, cpus: str = "", memory: str = "") -> Cluster:
    if cluster.runtime:
        raise Refused("a CRI runtime runs the containers of one node only", "kybern up --runtime native")
    used = {place.number: place.name for place in places(cluster)}
    number = next((number for number in range(2, NODES_MAX + 1) if number not in used), 0)
    if not number:
        raise Refused(f"a machine has {NODES_MAX} nodes at most", "kybern node remove NAME")
    name = name or f"{cluster.node_name}-{number}"
    if name in used.values():
        raise Refused(f"there is a node {name} already", "kybern node ls")
    node = NodeSettings(name=name, number=number, cpus=cpus, memory=memory)
    return replace(cluster, further_nodes=(*cluster.further_nodes, node))


def remove(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    from kybern.cmd.remains import clear_node

    place = further(cluster, args.name)
    left = tuple(node for node in cluster.further_nodes if node.name != place.name)
    change(replace(cluster, further_nodes=left))
    clear_node(place)
    if is_up(cluster):
        asyncio.run(forget(cluster, place.name))
    shutil.rmtree(place.data, ignore_errors=True)
    for file in cluster.pki.glob(f"*-{place.name}.*"):
        file.unlink()
    progress.done(f"node {place.name} is gone")
    return 0


def kill(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    from kybern.linux import cgroup_detect
    from kybern.linux.cgroups_absent import Absent

    place = further(cluster, args.name)
    groups = cgroup_detect.detect()
    if not cluster.simulated and isinstance(groups, Absent):
        raise Refused("without cgroups not everything on a node ends at once", f"kybern node partition {place.name}")
    change(with_changed(cluster, place.name, off=True))
    if not cluster.simulated:
        groups.kill(place.cgroup)
    progress.done(f"node {place.name} is off; bring it back with: kybern node heal {place.name}")
    return 0


def partition(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    place = further(cluster, args.name)
    set_cable(place, up=False)
    progress.done(f"node {place.name} is cut off; undo with: kybern node heal {place.name}")
    return 0


def delay(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    place = further(cluster, args.name)
    if place.netns is None:
        raise Refused("a simulated node has no link")
    change(with_changed(cluster, place.name, delay_ms=args.ms, loss_percent=args.loss))
    progress.done(f"every packet to and from node {place.name} takes {args.ms} ms longer, {args.loss} % get lost")
    return 0


def heal(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    from kybern.cmd.links import ensure_place

    place = further(cluster, args.name)
    healed = with_changed(cluster, place.name, off=False, delay_ms=0, loss_percent=0)
    config.save(healed)
    if is_up(healed):
        ensure_place(place)
        change(healed)  # nobody stands between the link and the bridge any more
        ensure_place(further(healed, place.name))
        missing = wait_for_nodes(healed, progress)
        if missing:
            return progress.failed(f"after {READY_SECONDS:.0f} s still waiting: {missing}", f"look into {healed.logs}")
    progress.done(f"node {place.name} is well")
    return 0


def ls(cluster: Cluster, args: argparse.Namespace, progress: Progress) -> int:
    rows = [("NODE", "ADDRESS", "CPUS", "MEMORY", "STATE")]
    for place in places(cluster):
        rows.append((place.name, str(place.address), place.cpus or "all", place.memory or "all", state(place)))
    width = max(len(row[0]) for row in rows) + 3
    for name, address, cpus, memory, how in rows:
        print(f"{name:<{width}}{address:<16}{cpus:<8}{memory:<10}{how}")
    return 0


ACTIONS: dict[str, Callable[[Cluster, argparse.Namespace, Progress], int]] = {
    "ls": ls,
    "add": add,
    "remove": remove,
    "partition": partition,
    "delay": delay,
    "kill": kill,
    "heal": heal,
}


def further(cluster: Cluster, name: str) -> Place:
    found = next((place for place in places(cluster) if place.name == name), None)
    if found is None:
        raise Refused(f"there is no node {name}", "kybern node ls")
    if found.is_machine:
        raise Refused(f"node {name} is this machine itself, with the API server on it", "kybern down")
    return found


def with_changed(cluster: Cluster, name: str, **changes: object) -> Cluster:
    nodes = tuple(replace(n, **changes) if n.name == name else n for n in cluster.further_nodes)  # type: ignore[arg-type]
    return replace(cluster, further_nodes=nodes)


def is_up(cluster: Cluster) -> bool:
    return running.status(cluster.control_socket) is not None


def change(cluster: Cluster) -> None:
    """The note, and then what runs. Returns when it is so."""
    from kybern.cmd.cluster import programs

    config.save(cluster)
    if not running.look_again(cluster.control_socket):
        return
    wanted = {program.name for program in programs(cluster)}
    deadline = time.monotonic() + STOP_SECONDS
    while running.program_names(cluster.control_socket) != wanted:
        if time.monotonic() > deadline:
            raise Refused(f"the supervisor did not follow in {STOP_SECONDS:.0f} s", f"look into {cluster.logs}")
        time.sleep(LOOK_AGAIN_SECONDS)


def set_cable(place: Place, *, up: bool) -> None:
    from kybern.linux.netlink import Netlink

    if place.netns is None:
        raise Refused("a simulated node has no link")
    with Netlink() as here:
        link = here.link(place.uplink)
        if link is None:
            raise Refused(f"node {place.name} has no link", f"kybern node heal {place.name}")
        here.set_up(link.index, up=up)


def state(place: Place) -> str:
    if place.off:
        return "off"
    if place.is_machine or place.netns is None:
        return "this machine" if place.is_machine else "simulated"
    from kybern.linux.netlink import Netlink

    with Netlink() as here:
        link = here.link(place.uplink)
    if link is None:
        return "down"
    if not link.up:
        return "cut off"
    return f"slowed by {place.delay_ms} ms, {place.loss_percent} % lost" if place.delay_ms else "connected"


async def forget(cluster: Cluster, name: str) -> None:
    """The Node object and its pods: nothing of them runs any more, so nobody waits until the pod GC is sure of that."""
    from kybern.api.core_v1 import Node, Pod
    from kybern.api.errors import Conflict, NotFound
    from kybern.client import Client
    from kybern.cmd.credentials import ADMIN
    from kybern.cmd.ready import transport

    connections = transport(cluster, ADMIN)
    client = Client(connections)
    try:
        with suppress(NotFound):
            await client.delete(Node, name)
        for pod in await client.list(Pod, fields=f"spec.nodeName={name}"):
            meta = pod.metadata
            with suppress(NotFound, Conflict):
                await client.delete(Pod, meta.name or "", meta.namespace or "", uid=meta.uid or "", grace_seconds=0)
    finally:
        connections.close()
