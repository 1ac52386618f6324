"""`apply -f`: every object as one server-side apply, the merge is the server's."""

import argparse
import sys
from typing import Any

from kybern.cli.kubectl.manifests import objects_in
from kybern.cli.kubectl.session import FIELD_MANAGER, CommandFailed, ServerRefused, Session

APPLY = "application/apply-patch+yaml"  # JSON is YAML.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", action="append", required=True, help="a file, a directory, or - for stdin")
    parser.add_argument("-R", "--recursive", action="store_true")
    parser.add_argument("--force-conflicts", action="store_true", help="take over fields that others manage")
    parser.add_argument("--dry-run", default="none", choices=("none", "server"))
    parser.add_argument("--field-manager", default=FIELD_MANAGER)


async def run(session: Session, args: argparse.Namespace) -> int:
    code = 0
    for obj in objects_in(args.filename, recursive=args.recursive):
        try:
            print(await applied(session, obj, args), flush=True)
        except CommandFailed as error:
            code = 1
            print(error, file=sys.stderr)
    return code


async def applied(session: Session, obj: dict[str, Any], args: argparse.Namespace) -> str:
    """What became of the object, in kubectl's words."""
    resource = await session.discovery.of_kind(obj["apiVersion"], obj["kind"])
    if resource is None:
        raise CommandFailed(f'error: no matches for kind "{obj["kind"]}" in version "{obj["apiVersion"]}"')
    name = obj["metadata"]["name"]
    path = session.path(resource, name, namespace=obj["metadata"].get("namespace"))
    before = await version_of(session, path)
    params = {"fieldManager": args.field_manager, "force": args.force_conflicts, "fieldValidation": "Strict"}
    params["dryRun"] = "All" if args.dry_run == "server" else ""
    after = await session.json("PATCH", path, params, obj, content_type=APPLY)
    done = (
        "created"
        if before is None
        else "unchanged"
        if before == after["metadata"].get("resourceVersion")
        else "configured"
    )
    return f"{resource.qualified}/{name} {done}{' (server dry run)' if params['dryRun'] else ''}"


async def version_of(session: Session, path: str) -> str | None:
    try:
        return str((await session.json("GET", path))["metadata"]["resourceVersion"])
    except ServerRefused as error:
        if error.code == 404:
            return None
        raise
