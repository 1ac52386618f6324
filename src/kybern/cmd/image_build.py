"""`kybern image build`: sends the order to the node and prints what it tells, step by step."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kybern.cmd.progress import FAINT, PLAIN, Progress
from kybern.runtime.build.work import BuildOrder
from kybern.web.client import Client
from kybern.web.http import Request

SECONDS = 60.0  # until the node takes the order; the build itself may take its time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("context", metavar="DIRECTORY", nargs="?", default=".", help="what COPY and ADD take from")
    parser.add_argument("-f", "--file", metavar="FILE", help="the Dockerfile (default: DIRECTORY/Dockerfile)")
    parser.add_argument("-t", "--tag", metavar="NAME", action="append", default=[], help="a name for the image")
    parser.add_argument("--build-arg", metavar="NAME=VALUE", action="append", default=[], help="a value for an ARG")
    parser.add_argument("--label", metavar="NAME=VALUE", action="append", default=[], help="a label of the image")
    parser.add_argument(
        "--secret", metavar="id=ID,src=FILE", action="append", default=[], help="for RUN --mount=type=secret"
    )
    parser.add_argument(
        "--ssh", metavar="ID[=SOCKET]", action="append", default=[], help="an SSH agent for RUN --mount=type=ssh"
    )
    parser.add_argument("--target", metavar="STAGE", default="", help="stop at this stage")
    parser.add_argument("--no-cache", action="store_true", help="carry every step out again")
    parser.add_argument("--pull", action="store_true", help="pull the bases even when they are there")


def order_of(args: argparse.Namespace) -> BuildOrder:
    """ValueError where an option is not what it should be."""
    context = Path(args.context).expanduser().absolute()
    dockerfile = Path(args.file).expanduser().absolute() if args.file else context / "Dockerfile"
    if not args.file and not dockerfile.exists() and (context / "Containerfile").exists():
        dockerfile = context / "Containerfile"
    return BuildOrder(
        context=str(context),
        dockerfile=str(dockerfile),
        tags=tuple(args.tag),
        arguments=pairs(args.build_arg, from_environment=True),
        labels=pairs(args.label),
        secrets=dict(map(secret, args.secret)),
        agents=dict(map(agent, args.ssh)),
        target=args.target,
        no_cache=args.no_cache,
        pull=args.pull,
    )


def pairs(texts: Iterable[str], *, from_environment: bool = False) -> dict[str, str]:
    """`NAME` alone takes the value that the environment has, as docker does."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals:
            found[name] = value
        elif from_environment and name in os.environ:
            found[name] = os.environ[name]
        elif not from_environment:
            raise ValueError(f"{text!r} is not NAME=VALUE")
    return found


def secret(text: str) -> tuple[str, str]:
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    identifier, source = fields.get("id", ""), fields.get("src") or fields.get("source") or ""
    if not identifier:
        raise ValueError(f"{text!r} has no id")
    return identifier, str(Path(source or identifier).expanduser().absolute())


def agent(text: str) -> tuple[str, str]:
    """`default` alone is the agent of whoever builds."""
    identifier, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise ValueError(f"--ssh {identifier}: there is no SSH agent; start one, or give the path of its socket")
    return identifier or "default", str(Path(path).expanduser().absolute())


async def build(client: Client, args: argparse.Namespace, progress: Progress) -> int:
    try:
        order = order_of(args)
    except ValueError as error:
        return progress.failed(str(error))
    answer = await client.send(Request("POST", "/build", body=msgspec.json.encode(order)), timeout=SECONDS)
    if answer.status != 200:
        return progress.failed(str(msgspec.json.decode(await answer.read())))
    assert not isinstance(answer.body, bytes | list | tuple), "a build is told as it goes"
    rest = b""
    async for piece in answer.body:  # type: ignore[union-attr]
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            code = show(msgspec.json.decode(line), progress)
            if code is not None:
                return code
    return progress.failed("the node ended the build", "kybern status")


def show(news: Mapping[str, Any], progress: Progress) -> int | None:
    """The exit code, when it is the last."""
    match news:
        case {"step": text}:
            print(text, file=sys.stderr, flush=True)
        case {"line": text}:
            print(f"  {FAINT}{text}{PLAIN}" if progress.colour else f"  {text}", file=sys.stderr, flush=True)
        case {"cached": _}:
            print("  cached", file=sys.stderr, flush=True)
        case {"error": text}:
            return progress.failed(text)
        case {"image": identifier, "names": names}:
            progress.done(f"built {', '.join(names)}")
            print(identifier)
            return 0
    return None
