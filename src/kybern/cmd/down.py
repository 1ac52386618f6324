"""`kybern down`: stops everything and leaves no process, link, namespace, table, mount or cgroup behind. Data stays."""

import argparse
import sys

from kybern.cmd import config, running
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.config import Cluster
from kybern.cmd.progress import Progress
from kybern.cmd.turns import Turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    cluster = config.saved(args.data_dir)
    if cluster is None:
        progress.note(f"there is no cluster in {args.data_dir}")
        return 0
    with Turn(config.run_root()):
        return stop(cluster, progress)


def stop(cluster: Cluster, progress: Progress) -> int:
    """Also after a crash, when nothing runs but something may be left."""
    from kybern.cmd.remains import clear

    try:
        was_up = running.stop(cluster.control_socket)
    except TimeoutError as error:
        return progress.failed(str(error), f"look into {cluster.logs}")
    clear(cluster)
    progress.done(f"{cluster.name} is down" if was_up else f"{cluster.name} was not up")
    return 0
