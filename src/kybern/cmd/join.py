"""`kybern join`: this machine becomes a node of another machine's cluster. What is proved when is in `joining`.

    kybern token create --print-join-command        on the machine with the API server: prints the line to type here

Afterwards `kybern status`, `down`, `up` and `reset` are about this machine's part only.
"""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from kybern.api.errors import ApiError
from kybern.client import Client
from kybern.cmd import config, running
from kybern.cmd.arguments import add_data_dir, address, node_name, runtime_target
from kybern.cmd.config import Cluster
from kybern.cmd.credentials import node, node_network
from kybern.cmd.joining import HASH, Discovered, NotJoined, client_certificate, discover, layout, network_certificate
from kybern.cmd.launch import start
from kybern.cmd.preflight import explain, look, needs_root, problems
from kybern.cmd.progress import Progress
from kybern.cmd.routes import routed_networks
from kybern.cmd.token import token_text
from kybern.cmd.turns import Turn
from kybern.web import client as web_client
from kybern.web.pki import Pair, write_pair
from kybern.web.private_file import write_private
from kybern.web.tls import client_context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    parser.add_argument("server", metavar="HOST:PORT", type=host_port, help="of the cluster's API server")
    parser.add_argument("--token", required=True, type=token_text, help="of `kybern token create` there")
    parser.add_argument(
        "--discovery-token-ca-cert-hash", "--ca-cert-hash", required=True, action="append", dest="hashes",
        type=pinned, metavar="sha256:HEX", help="the hash of its authority's public key",
    )  # fmt: skip
    parser.add_argument("--node-name", type=node_name, default=os.uname().nodename.lower(), help="default: %(default)s")
    parser.add_argument("--node-ip", type=address, help="default: the address that leads to the API server")
    parser.add_argument(
        "--runtime",
        type=runtime_target,
        default="native",
        metavar="URL",
        help="who runs containers here, as for kybern up",
    )
    parser.add_argument("--verbose", action="store_true", help="write more into the logs")


def host_port(text: str) -> str:
    url = urlsplit(f"https://{text}")
    try:
        if url.hostname and url.port and not url.path:
            return text
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no HOST:PORT")


def pinned(text: str) -> str:
    if HASH.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no sha256: and 64 hex digits")
    return text


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    with Turn(config.run_root()) as turn:
        return join(args, progress, turn)


def join(args: argparse.Namespace, progress: Progress, turn: Turn) -> int:
    known = config.saved(args.data_dir)
    if known is not None:
        up = running.status(known.control_socket) is not None
        what = f"{args.data_dir} is of a cluster already" + (", and it is up" if up else "")
        return progress.failed(what, "kybern up, or another --data-dir, or kybern reset")
    machine = look(args.data_dir, "127.0.0.1", 0)
    found = list(needs_root(machine, "join")) or list(problems(machine))
    if found:
        return explain(found, progress)
    try:
        cluster = asyncio.run(joined(args, progress))
    except NotJoined as error:
        return progress.failed(str(error), error.fix)
    except (ApiError, OSError) as error:
        return progress.failed(f"the cluster at {args.server} cannot be joined: {error}")
    return start(cluster, progress, turn, foreground=False)


async def joined(args: argparse.Namespace, progress: Progress) -> Cluster:
    """The credentials of this machine's node on disk, and its settings. Nothing is written before all is granted."""
    discovered = await discover(args.server, args.token, args.hashes)
    progress.reached("the cluster is the one that was meant")
    bearer = {"authorization": f"Bearer {args.token}"}
    tls = client_context(ca=discovered.ca)
    async with web_client.Client(discovered.server, ssl=tls, headers=bearer) as connections:
        client = Client(connections)
        pair = await client_certificate(client, args.node_name)
        of_network = await network_certificate(client, args.node_name)
    tls = client_context(ca=discovered.ca, certificate=pair.certificate, key=pair.key)
    async with web_client.Client(discovered.server, ssl=tls) as connections:
        common = await layout(Client(connections))
    progress.reached("the node has its certificate")
    own = args.node_ip or address_toward(discovered.server)
    cluster = config.new(
        args.data_dir,
        port=0,
        index=common.index,
        pod_network=common.pod_network,
        ip_family=common.ip_family,
        joined=discovered.server,
        advertise_address=own,
        node_name=args.node_name,
        runtime=args.runtime,
        verbose=args.verbose,
    )
    refuse_unusable_addresses(cluster)
    await refuse_unusable_runtime(cluster)
    keep(cluster.pki, discovered, args.node_name, pair, of_network)
    return cluster


def refuse_unusable_addresses(cluster: Cluster) -> None:
    try:
        config.refuse_strange_family(cluster, cluster.advertise_address)
    except ValueError as error:
        raise NotJoined(str(error), "--node-ip ADDRESS, or name the API server by an address of that family") from None
    if cluster.index in config.overlapping(routed_networks()):
        used = " or ".join(map(str, cluster.ranges))
        raise NotJoined(f"this machine has routes into {used}, which the cluster uses", "stop what uses them")


async def refuse_unusable_runtime(cluster: Cluster) -> None:
    if cluster.runtime:
        from kybern.cmd.runtime_check import problems_of

        for problem in await problems_of(cluster):
            raise NotJoined(problem.what, problem.fix)


def address_toward(server: str) -> str:
    """This machine's own, of the link that packets to the server leave by."""
    url = urlsplit(server)
    family, *_, there = socket.getaddrinfo(url.hostname, url.port or 443, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(there)  # sends nothing
        return str(probe.getsockname()[0])


def keep(pki: Path, discovered: Discovered, name: str, pair: Pair, of_network: Pair) -> None:
    write_private(pki / "ca.crt", discovered.ca)
    write_pair(pki, node(name).file, pair)
    write_pair(pki, node_network(name).file, of_network)
