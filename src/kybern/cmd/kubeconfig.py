"""The cluster's context in the user's kubeconfig, beside whatever else is there."""

import os
from pathlib import Path

from kybern.client import kubeconfig
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import ADMIN
from kybern.web.pki import read_pair


def path() -> Path:
    """The first file of KUBECONFIG, else ~/.kube/config: where kubectl would write too."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def write(cluster: Cluster) -> Path:
    """Adds or renews the context, and makes it the current one when it is new."""
    ca, admin = read_pair(cluster.pki, "ca"), read_pair(cluster.pki, ADMIN.file)
    assert ca is not None and admin is not None, "a cluster that is up has its certificates"
    target = path()
    kubeconfig.merge_context(
        target, cluster.name, server=cluster.server_url, ca=ca.certificate, certificate=admin.certificate, key=admin.key
    )
    return target


def forget(cluster: Cluster) -> None:
    kubeconfig.remove_context(path(), cluster.name)
