"""`kybern rotate`: new keys for a cluster, which then starts its server again, as after any end of it.

kybern rotate encryption          Secrets are rewritten with a new key; copies of the old file still need the old one
kybern rotate service-accounts    tokens are signed with a new key; those of the old one are believed until they end
kybern rotate service-accounts --forget    ... are believed no longer
"""

import argparse
import os
import signal
import sys
import time

from cryptography.hazmat.primitives import serialization

from kybern.cmd import config, rootless, running
from kybern.cmd.arguments import add_data_dir
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import former_keys
from kybern.cmd.encryption import add_key, file_of
from kybern.cmd.progress import Progress
from kybern.web.pki import create_signing_key
from kybern.web.private_file import write_private

SIGNERS = ("server", "control")  # both sign tokens
RESTART_SECONDS = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument("what", choices=("encryption", "service-accounts"))
    parser.add_argument("--forget", action="store_true", help="former keys of service accounts are believed no longer")


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    cluster = config.saved(args.data_dir)
    if cluster is None:
        return progress.failed(f"there is no cluster in {args.data_dir}")
    if args.what == "encryption":
        if not file_of(cluster).exists():
            return progress.failed("this cluster encrypts nothing", "kybern down, then kybern up --encrypt-secrets")
        progress.note(f"Secrets are encrypted with {add_key(cluster)}")
        concerned: tuple[str, ...] = ("server",)
    else:
        rotate_signing_key(cluster, forget=args.forget)
        progress.note("service-account tokens are signed with a new key")
        concerned = SIGNERS
    return rootless.inside(cluster, lambda: start_again(cluster, concerned, progress))  # where its pids are its pids


def rotate_signing_key(cluster: Cluster, *, forget: bool) -> None:
    path = cluster.pki / "sa.key"
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if forget:
        for former in former_keys(cluster.pki):
            former.unlink()
    else:
        write_private(cluster.pki / f"sa-{int(time.time())}.pub", public)
    write_private(path, create_signing_key())


def start_again(cluster: Cluster, names: tuple[str, ...], progress: Progress) -> int:
    """The supervisor starts what ends; nothing to do where the cluster is down."""
    known = running.status(cluster.control_socket)
    if known is None:
        return 0
    before = {program["name"]: program["pid"] for program in known["programs"] if program["name"] in names}
    for pid in before.values():
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + RESTART_SECONDS
    while time.monotonic() < until:
        now = running.status(cluster.control_socket) or {"programs": []}
        pids = {program["name"]: program["pid"] for program in now["programs"]}
        if all(pids.get(name) not in (0, None, pid) for name, pid in before.items()):
            return 0
        time.sleep(0.05)
    return progress.failed(f"the server did not start again in {RESTART_SECONDS:.0f} s", f"look into {cluster.logs}")
