"""`delete`: by name, by label or by file, and then wait until the objects are gone."""

import argparse
import asyncio
import sys
from typing import Any

from kybern.cli.kubectl.discovery import Resource
from kybern.cli.kubectl.manifests import objects_in
from kybern.cli.kubectl.session import CommandFailed, ServerRefused, Session
from kybern.cli.kubectl.targets import targets_of

LOOK_SECONDS_FIRST, LOOK_SECONDS_MAX = 0.05, 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", metavar="TYPE NAME... | TYPE/NAME", help="what to delete")
    parser.add_argument("-f", "--filename", action="append", default=[], help="delete what these files name")
    parser.add_argument("-R", "--recursive", action="store_true")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--all", action="store_true", help="all of the type in the namespace")
    parser.add_argument("--grace-period", type=int, default=-1)
    parser.add_argument("--now", action="store_true", help="the same as --grace-period=1")
    parser.add_argument("--force", action="store_true", help="with --grace-period=0: do not wait for the node")
    parser.add_argument("--cascade", default="background", choices=("background", "foreground", "orphan"))
    parser.add_argument("--wait", default="true", choices=("true", "false"), help="return when they are gone (default)")
    parser.add_argument("--ignore-not-found", action="store_true")


async def run(session: Session, args: argparse.Namespace) -> int:
    code, gone = 0, []
    for resource, namespace, name in await chosen(session, args):
        path = session.path(resource, name, namespace=namespace)
        try:
            answer = await session.json("DELETE", path, body=options(args))
        except ServerRefused as error:
            if not (error.code == 404 and args.ignore_not_found):
                print(error, file=sys.stderr)
                code = 1
            continue
        print(f'{resource.qualified} "{name}" deleted', flush=True)
        gone.append((path, uid_of(answer)))
    if args.wait == "true":
        for path, uid in gone:
            await wait_gone(session, path, uid)
    return code


async def chosen(session: Session, args: argparse.Namespace) -> list[tuple[Resource, str | None, str]]:
    """The resource, namespace and name of everything that is to go."""
    found: list[tuple[Resource, str | None, str]] = []
    if args.filename:
        for obj in objects_in(args.filename, recursive=args.recursive):
            resource = await session.discovery.of_kind(obj["apiVersion"], obj["kind"])
            if resource is None:
                raise CommandFailed(f'error: no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"')
            found.append((resource, obj["metadata"].get("namespace"), obj["metadata"]["name"]))
        return found
    for target in await targets_of(session, args.words):
        if target.name:
            found.append((target.resource, None, target.name))
            continue
        if not (args.all or args.selector):
            raise CommandFailed("error: resource(s) were provided, but no name was specified")
        listed = await session.json("GET", session.path(target.resource), {"labelSelector": args.selector})
        found += [(target.resource, None, item["metadata"]["name"]) for item in listed["items"]]
    if not found:
        print("No resources found", file=sys.stderr)
    return found


def options(args: argparse.Namespace) -> dict[str, Any]:
    propagation = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan"}[args.cascade]
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
    grace = 1 if args.now else args.grace_period
    if args.force and grace < 0:
        grace = 0
    if grace >= 0:
        body["gracePeriodSeconds"] = grace
    return body


def uid_of(answer: Any) -> str:
    """Of the object or of the Status that came back."""
    return str(answer.get("metadata", {}).get("uid") or (answer.get("details") or {}).get("uid") or "")


async def wait_gone(session: Session, path: str, uid: str) -> None:
    """Until there is no such object, or another one of its name."""
    seconds = LOOK_SECONDS_FIRST
    while True:
        try:
            found = await session.json("GET", path)
        except ServerRefused as error:
            if error.code == 404:
                return
            raise
        if uid and found["metadata"].get("uid") != uid:
            return
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds, LOOK_SECONDS_MAX)
