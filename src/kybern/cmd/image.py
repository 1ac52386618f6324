"""`kybern image`: the images of this machine's nodes. The nodes do the work; this asks each of them and prints."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from kybern.cmd import config, image_build
from kybern.cmd.arguments import absolute, add_data_dir
from kybern.cmd.docker_login import login_for
from kybern.cmd.place import places
from kybern.cmd.progress import Progress
from kybern.web.client import Client
from kybern.web.http import Request

ONCE = ("save", "push")  # what one node does for all of them
SECONDS = 3600.0
UNITS = ("B", "kB", "MB", "GB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    image_build.add_arguments(actions.add_parser("build", help="build an image from a Dockerfile"))
    actions.add_parser("ls", help="list the images")
    for action, text in (("pull", "pull an image from its registry"), ("push", "push an image to its registry")):
        added = actions.add_parser(action, help=text)
        added.add_argument("name")
        added.add_argument("--creds", metavar="USER:PASSWORD", help="instead of what `docker login` has kept")
    actions.add_parser("load", help="load a docker or OCI archive").add_argument("name", metavar="FILE", type=absolute)
    save = actions.add_parser("save", help="write images to an archive that docker and podman load, too")
    save.add_argument("name", nargs="+")
    save.add_argument("-o", "--output", metavar="FILE", type=absolute, required=True)
    tag = actions.add_parser("tag", help="give an image another name")
    tag.add_argument("name")
    tag.add_argument("new")
    actions.add_parser("rm", help="remove an image").add_argument("name")
    prune = actions.add_parser("prune", help="remove images without a tag and what builds have kept")
    prune.add_argument("--all", action="store_true", help="and every image that no container uses")
    add_data_dir(parser, actions.choices.values())


def run(args: argparse.Namespace) -> int:
    progress = Progress(sys.stderr)
    cluster = config.saved(args.data_dir)
    found = [place for place in places(cluster) if place.images_socket.exists()] if cluster else []
    if not found:
        return progress.failed(f"no node runs in {args.data_dir}", "kybern up")
    if args.action in ONCE:
        found = found[:1]
    code = 0
    for place in found:
        if len(found) > 1:
            print(f"{place.name}:")
        code = asyncio.run(act(place.images_socket, args, progress)) or code
    return code


async def act(socket: Path, args: argparse.Namespace, progress: Progress) -> int:
    async with Client("http://node", unix_path=str(socket)) as client:
        try:
            if args.action == "build":
                return await image_build.build(client, args, progress)
            answer = await client.send(REQUESTS[args.action](args), timeout=SECONDS)
            found = msgspec.json.decode(await answer.read())
        except OSError as error:
            return progress.failed(f"the node does not answer: {error}", "kybern status")
    if answer.status != 200:
        return progress.failed(str(found))
    for line in listing(found) if args.action == "ls" else pruned(found) if args.action == "prune" else found:
        print(line)
    return 0


def _post(path: str, fields: Mapping[str, Any], body: bytes = b"") -> Request:
    return Request("POST", path, urlencode(fields, doseq=True), body=body)


def _with_login(path: str) -> Callable[[argparse.Namespace], Request]:
    return lambda args: _post(path, {"name": args.name}, msgspec.json.encode(login_for(args.name, args.creds or "")))


REQUESTS: Mapping[str, Callable[[argparse.Namespace], Request]] = {
    "ls": lambda args: Request("GET", "/images"),
    "pull": _with_login("/pull"),
    "push": _with_login("/push"),
    "load": lambda args: _post("/load", {"name": args.name}),
    "save": lambda args: _post("/save", {"name": args.name, "file": args.output}),
    "tag": lambda args: _post("/tag", {"name": args.name, "new": args.new}),
    "rm": lambda args: Request("DELETE", "/images", urlencode({"name": args.name})),
    "prune": lambda args: _post("/prune", {"all": "1"} if args.all else {}),
}


def listing(images: list[dict[str, Any]]) -> list[str]:
    rows = [("IMAGE", "ID", "SIZE")]
    for image in images:
        for name in image["repo_tags"] or image["repo_digests"] or ["<none>"]:
            rows.append((name, image["id"].removeprefix("sha256:")[:12], size(image["size_bytes"])))
    width = max(len(row[0]) for row in rows) + 3
    return [f"{name:<{width}}{ident:<15}{amount:>9}" for name, ident, amount in rows]


def pruned(found: list[Any]) -> list[str]:
    *names, freed = found
    return [*names, f"freed {size(freed)}"]


def size(count: float) -> str:
    for unit in UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {UNITS[-1]}"
