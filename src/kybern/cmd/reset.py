"""`kybern reset`: stops the cluster and deletes its data, and its context from the kubeconfig."""

import argparse
import shutil
import sys

from kybern.client.kubeconfig import KubeconfigError
from kybern.cmd import config, kubeconfig, rootless
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.down import stop
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
        code = stop(cluster, progress)
        if code:
            return code
        if cluster.rootless:
            rootless.apart(lambda: shutil.rmtree(cluster.data))
        else:
            shutil.rmtree(cluster.data)
        progress.done(f"deleted {cluster.data}")
        try:
            kubeconfig.forget(cluster)
        except KubeconfigError as error:
            return progress.failed(f"its context {cluster.name} is still in the kubeconfig: {error}")
    return 0
