"""What the words of a command line mean: `pods`, `pod web`, `deploy/web svc/web`, `po,svc`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kybern.cli.kubectl.discovery import Resource
from kybern.cli.kubectl.session import CommandFailed, Session


@dataclass(frozen=True, slots=True)
class Target:
    resource: Resource
    name: str = ""
    """Empty: all of them."""


async def targets_of(session: Session, words: Sequence[str]) -> list[Target]:
    if not words:
        raise CommandFailed("error: You must specify the type of resource")
    if any("/" in word for word in words):
        pairs = [word.partition("/") for word in words]
        if not all(kind and name for kind, _, name in pairs):
            raise CommandFailed(
                'error: there is no need to specify a resource type as a separate argument when passing "TYPE/NAME"'
            )
        return [Target(await one_resource(session, kind), name) for kind, _, name in pairs]
    resources = [resource for kind in words[0].split(",") for resource in await resources_named(session, kind)]
    return [Target(resource, name) for resource in resources for name in words[1:] or [""]]


async def resources_named(session: Session, name: str) -> list[Resource]:
    found = await session.discovery.named(name)
    if not found:
        raise CommandFailed(f'error: the server doesn\'t have a resource type "{name}"')
    return found


async def one_resource(session: Session, name: str) -> Resource:
    return (await resources_named(session, name))[0]


async def pod_named(session: Session, word: str) -> str:
    """The pod itself, or the first one that a workload selects: `web-abc`, `pod/web-abc`, `deploy/web`."""
    kind, slash, name = word.partition("/")
    if not slash:
        return word
    resource = await one_resource(session, kind)
    if resource.plural == "pods":
        return name
    workload = await session.json("GET", session.path(resource, name))
    labels = selected_labels(workload)
    if not labels:
        raise CommandFailed(f"error: cannot tell which pods belong to {word}")
    pods = await one_resource(session, "pods")
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found = (await session.json("GET", session.path(pods), {"labelSelector": selector}))["items"]
    running = [pod for pod in found if pod.get("status", {}).get("phase") == "Running"]
    if not found:
        raise CommandFailed(f"error: no pods belong to {word}")
    return str((running or found)[0]["metadata"]["name"])


def selected_labels(workload: Any) -> dict[str, str]:
    """`matchLabels` of a workload, or the plain selector of a Service."""
    selector = workload.get("spec", {}).get("selector") or {}
    labels = selector.get("matchLabels", {} if "matchExpressions" in selector else selector)
    return dict(labels) if all(isinstance(value, str) for value in labels.values()) else {}
