"""`kybern status`: what runs, since when, how often it had to be started again, and whether the cluster can be used."""

import argparse
import asyncio
import json
import sys
from typing import Any

from kybern.cmd import config, rootless, running
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.config import Cluster
from kybern.cmd.progress import Progress, on_one_line

LOOK_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """0 when the cluster can be used, 1 when something is not well, 3 when it is not up (as `systemctl status`)."""
    progress = Progress(sys.stdout)
    cluster = config.saved(args.data_dir)
    found = running.status(cluster.control_socket) if cluster else None
    if cluster is None or found is None:
        progress.note(f"no cluster runs in {args.data_dir}; start it with: kybern up")
        return 3
    told = rootless.with_pids_seen_here(found) if cluster.rootless else found
    return rootless.inside(cluster, lambda: tell(cluster, told, args.output, progress))


def tell(cluster: Cluster, found: dict[str, Any], output: str, progress: Progress) -> int:
    missing, wrong = asyncio.run(looked_at(cluster))
    if output == "json":
        told = {"name": cluster.name, "server": cluster.server_url, "missing": missing, "complaints": wrong}
        print(json.dumps({**found, **told}, indent=2))
    else:
        show(cluster, found, missing, wrong, progress)
    return 1 if missing else 0


async def looked_at(cluster: Cluster) -> tuple[str, list[str]]:
    """What is not reached yet, and what is not well; a node that has joined may not ask for the whole cluster."""
    from kybern.api.errors import ApiError
    from kybern.client import Client
    from kybern.cmd.complaints import complaints, in_others_way
    from kybern.cmd.credentials import ADMIN
    from kybern.cmd.ready import transport, wait

    missing = await wait(cluster, LOOK_SECONDS, lambda *_: None)
    here = list(in_others_way(cluster))
    if cluster.joined:
        return missing, here
    connections = transport(cluster, ADMIN)
    try:
        return missing, [*await complaints(cluster, Client(connections)), *here]
    except ApiError:
        return missing, here  # the API server does not answer, which `missing` says
    finally:
        connections.close()


def show(cluster: Cluster, found: dict[str, Any], missing: str, wrong: list[str], progress: Progress) -> None:
    print(f"{cluster.name}  {cluster.server_url}  data in {cluster.data}")
    for row in [("PROCESS", "PID", "UP", "RESTARTS", "LAST EXIT"), *(columns(p) for p in found["programs"])]:
        print(f"  {row[0]:<12}{row[1]:>8}{row[2]:>10}{row[3]:>10}   {row[4]}")
    for complaint in wrong:
        progress.note(on_one_line(complaint))
    if missing:
        progress.failed(f"not yet: {missing}", f"look into {cluster.logs}")
    else:
        progress.note("the API server answers and the node is Ready")


def columns(program: dict[str, Any]) -> tuple[str, str, str, str, str]:
    up = f"{program['seconds']:.0f}s" if program["pid"] else "down"
    return program["name"], str(program["pid"] or "-"), up, str(program["restarts"]), program["last_exit"]
