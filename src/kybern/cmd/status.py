"""`kybern status`: what runs, since when, how often it had to be started again, and whether the cluster can be used."""

import argparse
import asyncio
import json
import os
import sys
from typing import Any

from kybern.cmd import config, running
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.config import Cluster
from kybern.cmd.progress import Progress

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
    missing = asyncio.run(first_missing(cluster))
    if args.output == "json":
        print(json.dumps({**found, "name": cluster.name, "server": cluster.server_url, "missing": missing}, indent=2))
    else:
        show(cluster, found, missing, progress)
    return 1 if missing else 0


async def first_missing(cluster: Cluster) -> str:
    from kybern.cmd.ready import wait

    return await wait(cluster, LOOK_SECONDS, lambda *_: None)


def show(cluster: Cluster, found: dict[str, Any], missing: str, progress: Progress) -> None:
    print(f"{cluster.name}  {cluster.server_url}  data in {cluster.data}")
    for row in [("PROCESS", "PID", "UP", "RESTARTS", "LAST EXIT"), *(columns(p) for p in found["programs"])]:
        print(f"  {row[0]:<12}{row[1]:>8}{row[2]:>10}{row[3]:>10}   {row[4]}")
    for warning in warnings(cluster):
        progress.note(f"{warning}: pods may be cut off; let the links kyb-*, kyn-* and kyv-* through")
    if missing:
        progress.failed(f"not yet: {missing}", f"look into {cluster.logs}")
    else:
        progress.note("the API server answers and the node is Ready")


def warnings(cluster: Cluster) -> list[str]:
    """What others on this machine do that the cluster cannot help."""
    if os.geteuid() != 0 or cluster.simulated:
        return []
    from kybern.linux.firewall import foreign

    return foreign("kybern-")


def columns(program: dict[str, Any]) -> tuple[str, str, str, str, str]:
    up = f"{program['seconds']:.0f}s" if program["pid"] else "down"
    return program["name"], str(program["pid"] or "-"), up, str(program["restarts"]), program["last_exit"]
