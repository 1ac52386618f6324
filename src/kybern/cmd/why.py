"""`kybern why pod/NAME`: why a pod waits and what would help, or why it is where it is; then the nodes, rule by rule.
`kybern why service/NAME` and `--to` ask for the way of a packet instead: see `why_network`.

It asks the API server for what the scheduler sees and judges it by the same rules, so it needs no scheduler to talk to.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Namespace, Node, Pod
from kybern.api.errors import ApiError
from kybern.api.storage_v1 import CSINode, VolumeAttachment
from kybern.cli.kubectl.columns import lines_of
from kybern.cli.kubectl.session import CommandFailed, open_session
from kybern.client import Client
from kybern.client.kubeconfig import KubeconfigError
from kybern.client.view import View
from kybern.cmd import config, rootless, why_network
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.progress import on_one_line
from kybern.cmd.why_network import place_of
from kybern.scheduler.configuration import read_configuration
from kybern.scheduler.explanation import Explanation, explained
from kybern.scheduler.followed import DEVICES, VOLUMES, Followed
from kybern.scheduler.gangs import Gangs, GangScheduling
from kybern.scheduler.groups import FOLLOWED, group_of
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import scheduler_of

LIST_SECONDS_MAX = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument("subject", metavar="pod/NAME|service/NAME", type=subject)
    parser.add_argument("--to", type=place_of, metavar="pod/NAME:PORT|service/NAME", help="why the pod cannot reach it")
    parser.add_argument("--port", type=int, default=0, help="of the service that is asked about; all when left out")
    parser.add_argument("-n", "--namespace", default="", help="the namespace; the context's own when left out")
    parser.add_argument("--context", default="", help="the kubeconfig context; the current one when left out")
    parser.add_argument("--kubeconfig", type=Path, help="the kubeconfig file")
    parser.add_argument(
        "--scheduler-config", metavar="FILE", help="the one that the scheduler has, where it is not the cluster's"
    )


def subject(text: str) -> tuple[str, str]:
    kind, name, port = place_of(text if "/" in text else f"pod/{text}")
    if port:
        raise argparse.ArgumentTypeError(f"{text!r}: the port is asked for by --port or --to")
    return kind, name


def run(args: argparse.Namespace) -> int:
    cluster = config.saved(args.data_dir)
    if args.scheduler_config is None:
        args.scheduler_config = cluster.scheduler_config if cluster is not None else ""
    return rootless.inside(cluster, lambda: tell(args)) if cluster is not None else tell(args)


def tell(args: argparse.Namespace) -> int:
    try:
        if args.to or args.subject[0] == "service":
            return why_network.run(args)
        found = asyncio.run(explanation(args))
    except (ApiError, CommandFailed, KubeconfigError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print("error: the API server did not answer in time", file=sys.stderr)
        return 1
    print("\n".join(map(on_one_line, text_of(found))))
    return 0


async def explanation(args: argparse.Namespace) -> Explanation:
    configuration = read_configuration(args.scheduler_config)
    async with open_session(args.context, args.namespace, args.kubeconfig) as session:
        client = Client(session.client, user_agent="kybern-why")
        pod = await client.get(Pod, args.subject[1], session.namespace)
        profiles = {profile.scheduler_name: profile for profile in configuration.profiles}
        profile = profiles.get(scheduler_of(pod))
        if profile is None:
            name, known = scheduler_of(pod), ", ".join(profiles)
            why = f"its scheduler is {name!r}, and this one schedules for {known}"
            return Explanation(why, f"start {name}, or a pod with schedulerName {known}", (), ())
        view = View(client)
        for kind in (Namespace, Node, Pod, *FOLLOWED, *VOLUMES, *DEVICES):
            view.watch_kind(kind)
        following = asyncio.create_task(view.run())
        try:
            async with timeout(LIST_SECONDS_MAX):
                await view.synced()
            snapshot, gangs = as_the_scheduler_sees(view)
            gate = GangScheduling(gangs)
            return explained(pod, snapshot, replace(profile, pre_enqueue=(gate, *profile.pre_enqueue)))
        finally:
            following.cancel()


def as_the_scheduler_sees(view: View) -> tuple[Snapshot, Gangs]:
    snapshot, gangs = Snapshot(), Gangs()
    snapshot.view = Followed(view, SystemClock())
    snapshot.group_of = lambda pod: group_of(pod, view)
    for namespace in view.list(Namespace):
        snapshot.tallies.namespaces[namespace.metadata.name or ""] = namespace.metadata.labels or {}
    for node in view.list(Node):
        snapshot.set_node(node)
    for said in (*view.list(CSINode), *view.list(VolumeAttachment)):
        snapshot.attachments.changed(None, said)
    for pod in view.list(Pod):
        if pod.status.phase not in ("Succeeded", "Failed"):
            gangs.join(pod)
            if pod.spec.node_name:
                snapshot.add_pod(pod, pod.spec.node_name)
    return snapshot, gangs


def text_of(found: Explanation) -> Iterator[str]:
    yield found.cause
    if found.change:
        yield f"smallest change: {found.change}"
    if found.rows:
        yield ""
        yield from lines_of(found.header, found.rows)
