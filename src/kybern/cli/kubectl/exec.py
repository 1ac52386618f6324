"""`exec`: a command in a container, with `-i` its input and with `-t` a terminal."""

import argparse
import json
import sys
from urllib.parse import quote

from kybern.cli.kubectl.session import CommandFailed, Session, query_of, refused
from kybern.cli.kubectl.targets import pod_named
from kybern.web.http import Request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", metavar="POD | TYPE/NAME")
    parser.add_argument("-c", "--container", default="")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass stdin to the command")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("remote_command", nargs="+", metavar="-- COMMAND", help="the command and its arguments")


async def run(session: Session, args: argparse.Namespace) -> int:
    from kybern.web.remote_client import remote_command
    from kybern.web.websocket import HandshakeRefused

    tty = args.tty and sys.stdin.isatty()
    if args.tty and not tty:
        print("Unable to use a TTY - input is not a terminal or the right kind of file", file=sys.stderr)
    try:
        async with remote_command(session.client, await request(session, args, tty=tty)) as remote:
            from kybern.cli.kubectl.terminal import attached

            await attached(remote, stdin=args.stdin, tty=tty)
            return exit_code(await remote.status())
    except HandshakeRefused as error:
        body = await error.response.read()
        raise refused(error.response.status, body) from error


async def request(session: Session, args: argparse.Namespace, *, tty: bool) -> Request:
    name = await pod_named(session, args.pod)
    params = {
        "command": args.remote_command,
        "container": args.container,
        "stdin": args.stdin,
        "stdout": True,
        "stderr": not tty,
        "tty": tty,
    }
    path = f"/api/v1/namespaces/{quote(session.namespace, safe='')}/pods/{quote(name, safe='')}/exec"
    return Request("GET", path, query_of(params))


def exit_code(status: bytes) -> int:
    """The command's own, which the server's Status carries in its causes."""
    try:
        answer = json.loads(status)
    except ValueError as error:
        raise CommandFailed("error: the connection ended before the command did") from error
    if answer.get("status") == "Success":
        return 0
    causes = (answer.get("details") or {}).get("causes") or []
    code = next((cause["message"] for cause in causes if cause.get("reason") == "ExitCode"), "")
    if not code.isdigit():
        raise CommandFailed(f"error: {answer.get('message', 'the command failed')}")
    print(f"command terminated with exit code {code}", file=sys.stderr)
    return int(code)
