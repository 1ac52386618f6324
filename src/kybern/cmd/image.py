"""`kybern image`: the images of this machine's nodes. The nodes do the work; this asks each of them and prints."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from kybern.cmd import config
from kybern.cmd.place import places
from kybern.cmd.progress import Progress
from kybern.cmd.up import add_data_dir
from kybern.web.client import Client
from kybern.web.http import Request

PULL_SECONDS = 3600.0
UNITS = ("B", "kB", "MB", "GB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    actions.add_parser("ls", help="list the images")
    actions.add_parser("pull", help="pull an image from its registry").add_argument("name")
    actions.add_parser("load", help="load a docker or OCI archive").add_argument("name", metavar="FILE", type=absolute)
    actions.add_parser("rm", help="remove an image").add_argument("name")


def absolute(text: str) -> str:
    return str(Path(text).expanduser().absolute())


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    cluster = config.saved(args.data_dir)
    found = [place for place in places(cluster) if place.images_socket.exists()] if cluster else []
    if not found:
        return progress.failed(f"no node runs in {args.data_dir}", "kybern up")
    code = 0
    for place in found:
        if len(found) > 1:
            print(f"{place.name}:")
        code = asyncio.run(act(place.images_socket, args.action, getattr(args, "name", ""), progress)) or code
    return code


async def act(socket: Path, action: str, name: str, progress: Progress) -> int:
    method = {"ls": "GET", "rm": "DELETE"}.get(action, "POST")
    path = f"/{action}" if method == "POST" else "/images"
    async with Client("http://node", unix_path=str(socket)) as client:
        try:
            answer = await client.send(Request(method, path, urlencode({"name": name})), timeout=PULL_SECONDS)
        except OSError as error:
            return progress.failed(f"the node does not answer: {error}", "kybern status")
        found = msgspec.json.decode(await answer.read())
    if answer.status != 200:
        return progress.failed(str(found))
    for line in listing(found) if action == "ls" else found:
        print(line)
    return 0


def listing(images: list[dict[str, Any]]) -> list[str]:
    rows = [("IMAGE", "ID", "SIZE")]
    for image in images:
        for name in image["repo_tags"] or image["repo_digests"] or ["<none>"]:
            rows.append((name, image["id"].removeprefix("sha256:")[:12], size(image["size_bytes"])))
    width = max(len(row[0]) for row in rows) + 3
    return [f"{name:<{width}}{ident:<15}{amount:>9}" for name, ident, amount in rows]


def size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {UNITS[-1]}"
