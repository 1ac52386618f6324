"""`describe`: one object as a page, whatever its kind, and what has happened to it."""

import argparse
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from kybern.cli.kubectl.columns import lines_of
from kybern.cli.kubectl.session import CommandFailed, Session
from kybern.cli.kubectl.targets import Target, targets_of

LABEL_WIDTH = 14
HIDDEN = (
    "managedFields",
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
)
MAPS = ("data", "limits", "requests", "matchLabels", "nodeSelector", "selector", "labels", "annotations", "capacity")
"""Fields whose keys are the user's own words."""
SHORT = {"Ip": "IP", "Dns": "DNS", "Uid": "UID", "Cidr": "CIDR", "Qos": "QoS", "Id": "ID", "Api": "API"}
WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="TYPE [NAME...] | TYPE/NAME", help="what to describe")
    parser.add_argument("-l", "--selector", default="")


async def run(session: Session, args: argparse.Namespace) -> int:
    pages = []
    for target in await targets_of(session, args.words):
        for obj in await objects(session, target, args.selector):
            events = await events_of(session, obj, target)
            pages.append("\n".join([*page(obj, target.resource.kind), *event_lines(events, datetime.now(UTC))]))
    if not pages:
        raise CommandFailed(f"No resources found in {session.namespace} namespace.")
    print("\n\n\n".join(pages))
    return 0


async def objects(session: Session, target: Target, selector: str) -> list[Any]:
    if target.name:
        return [await session.json("GET", session.path(target.resource, target.name))]
    listed = await session.json("GET", session.path(target.resource), {"labelSelector": selector})
    return list(listed["items"])


async def events_of(session: Session, obj: Any, target: Target) -> list[Any]:
    metadata = obj["metadata"]
    fields = f"involvedObject.name={metadata['name']},involvedObject.uid={metadata['uid']}"
    namespace = metadata.get("namespace") or "default"
    answer = await session.json("GET", f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": fields})
    return list(answer["items"])


def page(obj: Any, kind: str) -> Iterator[str]:
    metadata = obj["metadata"]
    yield field("Name", metadata["name"])
    if metadata.get("namespace"):
        yield field("Namespace", metadata["namespace"])
    yield from pairs("Labels", metadata.get("labels"), "=")
    yield from pairs("Annotations", metadata.get("annotations"), ": ")
    yield field("Created", metadata.get("creationTimestamp", "<unknown>"))
    rest = {key: value for key, value in metadata.items() if key not in HIDDEN}
    secret = kind == "Secret"
    for key, value in {**rest, **{k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}}.items():
        if secret and key in ("data", "stringData"):
            value = {name: f"{len(text) * 3 // 4} bytes" for name, text in (value or {}).items()}
        yield from tree(key, value, 0)


def field(label: str, value: Any) -> str:
    return f"{label + ':':<{LABEL_WIDTH}} {value}"


def pairs(label: str, values: Any, separator: str) -> Iterator[str]:
    lines = [f"{key}{separator}{value}" for key, value in sorted((values or {}).items())] or ["<none>"]
    yield field(label, lines[0])
    yield from (f"{'':<{LABEL_WIDTH}} {line}" for line in lines[1:])


def tree(key: str, value: Any, depth: int, *, verbatim: bool = False) -> Iterator[str]:
    """`containerPort: 80` as `Container Port:  80`; what is nested stands below, indented."""
    pad, label = "  " * depth, f"{key if verbatim else title(key)}:"
    if value in (None, {}, []):
        return
    if isinstance(value, dict):
        yield f"{pad}{label}"
        for inner, each in value.items():
            yield from tree(inner, each, depth + 1, verbatim=is_map(key, value))
    elif isinstance(value, list) and all(isinstance(each, dict) for each in value):
        yield f"{pad}{label}"
        for each in value:
            yield from item(each, depth + 1)
    elif isinstance(value, list):
        yield f"{pad}{label}"
        yield from (f"{pad}  {text(each)}" for each in value)
    elif isinstance(value, str) and "\n" in value:
        yield f"{pad}{label}"
        yield from (f"{pad}  {line}" for line in value.splitlines())
    else:
        yield f"{pad}{label:<{LABEL_WIDTH}} {text(value)}"


def is_map(key: str, value: dict[str, Any]) -> bool:
    return key in MAPS and not any(isinstance(each, dict) for each in value.values())


def item(value: dict[str, Any], depth: int) -> Iterator[str]:
    """One of several: its name is its heading, where it has one."""
    lines = [line for key, each in value.items() for line in tree(key, each, depth + 1) if key != "name"]
    if "name" in value:
        yield f"{'  ' * depth}{value['name']}:"
        yield from lines
    else:
        marked = "  " * depth + "- "
        yield from (marked + line.lstrip() if index == 0 else line for index, line in enumerate(lines))


def title(key: str) -> str:
    """Camel case as words."""
    words = [word[0].upper() + word[1:] for word in WORDS.split(key)]
    return " ".join(SHORT.get(word, word) for word in words)


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def event_lines(events: list[Any], now: datetime) -> list[str]:
    if not events:
        return [field("Events", "<none>")]
    rows = []
    for event in sorted(events, key=lambda event: last_seen(event)):
        source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
        age = since(last_seen(event), now)
        if (event.get("count") or 1) > 1:
            age = f"{age} (x{event['count']} over {since(event.get('firstTimestamp') or '', now)})"
        rows.append(
            [event.get("type") or "", event.get("reason") or "", age, source, (event.get("message") or "").strip()]
        )
    header = [["Type", "Reason", "Age", "From", "Message"], ["----", "------", "----", "----", "-------"]]
    return ["Events:", *(f"  {line}" for line in lines_of([], [*header, *rows]))]


def last_seen(event: Any) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def since(moment: str, now: datetime) -> str:
    """As short as kubectl says it: 5s, 3m12s, 4h, 2d."""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(moment)).total_seconds()))
    except ValueError:
        return "<unknown>"
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 600:
        return f"{seconds // 60}m{seconds % 60}s" if seconds % 60 else f"{seconds // 60}m"
    if seconds < 3 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 2 * 86400 else f"{seconds // 86400}d"
