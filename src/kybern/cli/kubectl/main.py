"""`kybern kubectl`: the commands that the README uses, for machines without kubectl.

Each command is a module with `add_arguments(parser)` and `async run(session, args) -> exit code`. What only one command
needs (WebSocket, YAML) that command imports when it runs.
"""

import argparse
import asyncio
import sys
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "get": "show objects",
    "describe": "show one object with its events",
    "apply": "make the cluster have what files say",
    "delete": "delete objects",
    "logs": "print what a container wrote",
    "exec": "run a command in a container",
    "scale": "set the number of replicas",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared = shared_arguments()
    add_shared(parser)  # kubectl takes them in front of the command too.
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[shared])
        module = import_module(f"kybern.cli.kubectl.{name}")
        module.add_arguments(sub)
        sub.set_defaults(command_module=module)


def shared_arguments() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    add_shared(shared)
    return shared


def add_shared(parser: argparse.ArgumentParser) -> None:
    """Without defaults: the command's would undo what was said in front of it."""
    absent = argparse.SUPPRESS
    parser.add_argument("-n", "--namespace", default=absent, help="the namespace; the context's own when left out")
    parser.add_argument("--context", default=absent, help="the kubeconfig context; the current one when left out")
    parser.add_argument("--kubeconfig", type=Path, default=absent, help="the kubeconfig file")


def run(args: argparse.Namespace) -> int:
    from kybern.cli.kubectl.session import CommandFailed, open_session
    from kybern.client.kubeconfig import KubeconfigError
    from kybern.web.client_errors import ClientError

    async def command() -> int:
        given = (getattr(args, "context", ""), getattr(args, "namespace", ""), getattr(args, "kubeconfig", None))
        async with open_session(*given) as session:
            return int(await args.command_module.run(session, args))

    try:
        return asyncio.run(command())
    except CommandFailed as error:
        print(error, file=sys.stderr)
    except KubeconfigError as error:
        print(f"error: {error}", file=sys.stderr)
    except ClientError as error:
        print(f"The connection to the server failed: {error}", file=sys.stderr)
    return 1
