"""`logs`: what a container wrote, and with `-f` what it goes on to write."""

import argparse
import sys
from collections.abc import AsyncIterator
from urllib.parse import quote

from kybern.cli.kubectl.session import Session
from kybern.cli.kubectl.targets import pod_named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", metavar="POD | TYPE/NAME", help="whose logs")
    parser.add_argument("container", nargs="?", default="")
    parser.add_argument("-c", "--container", dest="container_flag", default="", help="which of its containers")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-p", "--previous", action="store_true", help="of the container that ran before this one")
    parser.add_argument("--tail", type=int, default=-1, help="only that many last lines")
    parser.add_argument("--since-seconds", type=int, default=0)
    parser.add_argument("--timestamps", action="store_true")


async def run(session: Session, args: argparse.Namespace) -> int:
    name = await pod_named(session, args.pod)
    params = {
        "container": args.container_flag or args.container,
        "follow": args.follow,
        "previous": args.previous,
        "tailLines": str(args.tail) if args.tail >= 0 else "",
        "sinceSeconds": args.since_seconds or "",
        "timestamps": args.timestamps,
    }
    path = f"/api/v1/namespaces/{quote(session.namespace, safe='')}/pods/{quote(name, safe='')}/log"
    response = await session.send("GET", path, params, accept="*/*")
    if isinstance(response.body, AsyncIterator):
        async for piece in response.body:
            write(piece)
    else:
        write(await response.read())
    return 0


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
