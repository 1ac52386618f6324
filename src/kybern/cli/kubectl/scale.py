"""`scale`: the replicas of whatever has a scale."""

import argparse

from kybern.cli.kubectl.session import CommandFailed, Session
from kybern.cli.kubectl.targets import targets_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="TYPE NAME | TYPE/NAME", help="what to scale")
    parser.add_argument("--replicas", type=int, required=True)


async def run(session: Session, args: argparse.Namespace) -> int:
    if args.replicas < 0:
        raise CommandFailed(
            "error: The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"
        )
    for target in await targets_of(session, args.words):
        if not target.name:
            raise CommandFailed("error: resource(s) were provided, but no name was specified")
        path = session.path(target.resource, target.name, subresource="scale")
        body = {"spec": {"replicas": args.replicas}}
        await session.json("PATCH", path, body=body, content_type="application/merge-patch+json")
        print(f"{target.resource.qualified}/{target.name} scaled")
    return 0
