"""`get`: the server's own tables, or the objects as JSON, YAML or names."""

import argparse
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from kybern.cli.kubectl.columns import cells_of, header_of, lines_of, shown_columns
from kybern.cli.kubectl.session import CommandFailed, Session
from kybern.cli.kubectl.targets import Target, targets_of
from kybern.web.http import Response

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
JSONPATH = "jsonpath="
CHUNK = 500  # Objects asked for at a time, as kubectl does.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="TYPE [NAME...] | TYPE/NAME", help="what to show")
    parser.add_argument("-o", "--output", type=output, default="", metavar="wide|yaml|json|name|jsonpath=...")
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    parser.add_argument("-l", "--selector", default="", help="only those with these labels")
    parser.add_argument("--field-selector", default="")
    parser.add_argument("-w", "--watch", action="store_true", help="go on with what changes")
    parser.add_argument("--no-headers", action="store_true")
    parser.add_argument("--ignore-not-found", action="store_true")


async def run(session: Session, args: argparse.Namespace) -> int:
    targets = await targets_of(session, args.words)
    if args.output in ("json", "yaml") or args.output.startswith(JSONPATH):
        return await print_objects(session, targets, args)
    several = len({target.resource for target in targets}) > 1
    code = printed = 0
    for target in targets:
        table = await fetched(session, target, args, TABLE)
        if table is None:
            code = code if args.ignore_not_found else 1
            continue
        if not table["rows"] and not args.watch:
            continue
        if printed and several and args.output != "name":
            print()
        widths = print_table(table, target, args, several=several)
        printed += 1
        if args.watch:
            await follow(session, target, args, table, widths, several=several)
    if not printed and not code:
        where = (
            "" if args.all_namespaces or not targets[0].resource.namespaced else f" in {session.namespace} namespace"
        )
        print_error(f"No resources found{where}.")
    return code


async def fetched(session: Session, target: Target, args: argparse.Namespace, accept: str) -> Any:
    """The object or the whole list; None, with a word to the user, where a named object does not exist."""
    path = session.path(target.resource, target.name, namespace="" if args.all_namespaces else None)
    if target.name:
        if args.all_namespaces:
            raise CommandFailed("error: a resource cannot be retrieved by name across all namespaces")
        try:
            return await session.json("GET", path, accept=accept)
        except CommandFailed as error:
            if getattr(error, "code", 0) != 404:
                raise
            if not args.ignore_not_found:
                print_error(str(error))
            return None
    params = {"limit": CHUNK, "labelSelector": args.selector, "fieldSelector": args.field_selector}
    whole = await session.json("GET", path, params, accept=accept)
    items = "rows" if "rows" in whole else "items"
    whole[items] = whole.get(items) or []
    chunk = whole
    while chunk["metadata"].get("continue"):
        chunk = await session.json("GET", path, {**params, "continue": chunk["metadata"]["continue"]}, accept=accept)
        whole[items] += chunk[items] or []
    return whole


def print_table(table: Any, target: Target, args: argparse.Namespace, *, several: bool) -> list[int]:
    if args.output == "name":
        for row in table["rows"]:
            print(f"{target.resource.qualified}/{row['object']['metadata']['name']}")
        return []
    shown = shown_columns(table, wide=args.output == "wide")
    header = header_of(table, shown)
    if args.all_namespaces and target.resource.namespaced:
        header.insert(0, "NAMESPACE")
    widths: list[int] = []
    rows = [row_of(row, shown, target, args, several=several) for row in table["rows"]]
    for line in lines_of([] if args.no_headers else header, rows, widths):
        print(line)
    return widths


def row_of(row: Any, shown: list[int], target: Target, args: argparse.Namespace, *, several: bool) -> list[str]:
    cells = cells_of(row, shown)
    if several:
        cells[0] = f"{target.resource.qualified}/{cells[0]}"
    if args.all_namespaces and target.resource.namespaced:
        cells.insert(0, row["object"]["metadata"].get("namespace", ""))
    return cells


async def print_objects(session: Session, targets: list[Target], args: argparse.Namespace) -> int:
    answers = [await fetched(session, target, args, "application/json") for target in targets]
    found = [answer for answer in answers if answer is not None]
    if len(targets) == 1 and targets[0].name:
        if not found:
            return 0 if args.ignore_not_found else 1
        shown = found[0]
    else:
        items = [item for answer, target in zip(answers, targets, strict=True) for item in items_in(answer, target)]
        shown = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
    if args.output.startswith(JSONPATH):
        print(rendered(args.output.removeprefix(JSONPATH), shown), end="")
    elif args.output == "json":
        print(json.dumps(shown, indent=4, ensure_ascii=False))
    else:
        from kybern.api.yaml_text import dump

        print(dump(shown), end="")
    return 0 if len(found) == len(answers) or args.ignore_not_found else 1


def rendered(template: str, value: Any) -> str:
    from kybern.cli.kubectl.jsonpath import BadTemplate, render

    try:
        return render(template, value)
    except BadTemplate as error:
        raise CommandFailed(f"error: error parsing jsonpath {template}, {error}") from error


def output(text: str) -> str:
    if text in ("", "wide", "yaml", "json", "name") or text.startswith(JSONPATH):
        return text
    raise argparse.ArgumentTypeError(f"unable to match a printer suitable for the output format {text!r}")


def items_in(answer: Any, target: Target) -> list[Any]:
    """The objects of an answer, each with the kind that a list leaves out."""
    if answer is None:
        return []
    items = [answer] if target.name else answer["items"]
    return [{"apiVersion": target.resource.api_version, "kind": target.resource.kind, **item} for item in items]


async def follow(
    session: Session, target: Target, args: argparse.Namespace, table: Any, widths: list[int], *, several: bool
) -> None:
    """Prints a line for every change, until interrupted or cut off by the server."""
    params = {
        "watch": True,
        "resourceVersion": table["metadata"].get("resourceVersion", ""),
        "labelSelector": args.selector,
    }
    params["fieldSelector"] = f"metadata.name={target.name}" if target.name else args.field_selector
    path = session.path(target.resource, namespace="" if args.all_namespaces else None)
    response = await session.send("GET", path, params, accept=TABLE)
    shown = shown_columns(table, wide=args.output == "wide")
    async for line in json_lines(response):
        event = json.loads(line)
        if event["type"] == "ERROR":
            raise CommandFailed(f"error: the watch ended: {event['object'].get('message', '')}")
        if event["type"] == "BOOKMARK":
            continue
        rows = [row_of(row, shown, target, args, several=several) for row in event["object"]["rows"]]
        for text in lines_of([], rows, widths):
            print(text, flush=True)


async def json_lines(response: Response) -> AsyncIterator[bytes]:
    if isinstance(response.body, AsyncIterator):
        rest = b""
        async for piece in response.body:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line:
                    yield line


def print_error(text: str) -> None:
    print(text, file=sys.stderr)
