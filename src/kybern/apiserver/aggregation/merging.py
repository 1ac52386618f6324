"""The documents of extensions beside our own: groups, aggregated discovery, both OpenAPI forms. Pure.

What an extension says is believed only of its own group and version, and as far as it has the right shape.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kybern.apiserver.aggregation.registration import CUSTOM, GROUP_PRIORITIES
from kybern.apiserver.discovery import Document

RESOURCES_MAX = 10_000  # of one version: nobody has so many, and each client reads them all


@dataclass(frozen=True, slots=True)
class RemoteVersion:
    """What is known of one group and version that is served elsewhere."""

    group: str
    version: str
    group_priority: int
    version_priority: int
    resources: tuple[Document, ...] = ()
    """As aggregated discovery describes them."""
    fresh: bool = False
    """Whether it was reachable when it was last asked."""
    openapi_v2: Mapping[str, Any] = field(default_factory=dict)
    openapi_v3: str = ""
    """The address of its OpenAPI 3 document, with the hash of the contents."""


def by_group(remote: Iterable[RemoteVersion]) -> dict[str, list[RemoteVersion]]:
    """The most important group first, and of each group the most important version."""
    found: dict[str, list[RemoteVersion]] = {}
    for one in remote:
        found.setdefault(one.group, []).append(one)
    for versions in found.values():
        versions.sort(key=lambda one: (-one.version_priority, one.version))
    return dict(sorted(found.items(), key=lambda item: (-max(one.group_priority for one in item[1]), item[0])))


def group_of(group: str, versions: Iterable[RemoteVersion]) -> Document:
    listed = [{"groupVersion": f"{group}/{one.version}", "version": one.version} for one in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def with_groups(document: Document, remote: Sequence[RemoteVersion]) -> Document:
    """/apis: the most important group first; one that is served here and elsewhere has its versions joined."""
    groups = {name_of(group): group for group in document["groups"]}
    for name, versions in by_group(remote).items():
        own = groups.get(name)
        made = group_of(name, versions)
        groups[name] = made if own is None else {**own, "versions": joined(own["versions"], made["versions"])}
    return {**document, "groups": ordered(groups, document["groups"], remote)}


def with_discovery(document: Document, remote: Sequence[RemoteVersion]) -> Document:
    """/apis as APIGroupDiscoveryList."""
    items = {name_of(item): item for item in document["items"]}
    for name, versions in by_group(remote).items():
        listed = [described(one) for one in versions]
        own = items.get(name)
        if own is not None:
            items[name] = {**own, "versions": joined(own["versions"], listed)}
        else:
            items[name] = {"metadata": {"name": name, "creationTimestamp": None}, "versions": listed}
    return {**document, "items": ordered(items, document["items"], remote)}


def joined(own: Iterable[Document], theirs: Iterable[Document]) -> list[Document]:
    """A version that both have is theirs: an APIService has said so."""
    names = {one["version"] for one in theirs}
    return [*(one for one in own if one["version"] not in names), *theirs]


def ordered(groups: Mapping[str, Document], own: Iterable[Document], remote: Iterable[RemoteVersion]) -> list[Document]:
    """By the priorities of their APIServices; of equal ones ours first, in our order."""
    priorities = {name: GROUP_PRIORITIES.get(name, CUSTOM[0]) for name in map(name_of, own)}
    for one in remote:
        priorities[one.group] = max(priorities.get(one.group, 0), one.group_priority)
    return [groups[name] for name in sorted(groups, key=lambda name: -priorities[name])]


def name_of(group: Document) -> str:
    """Of a group in either form of discovery."""
    return str(group["name"] if "name" in group else group["metadata"].get("name", ""))


def described(one: RemoteVersion) -> Document:
    return {
        "version": one.version,
        "resources": list(one.resources),
        "freshness": "Current" if one.fresh else "Stale",
    }


def with_openapi_v2(document: Document, remote: Iterable[RemoteVersion]) -> Document:
    """Paths of its own group and version, and the definitions that nobody else has."""
    paths, definitions = dict(document["paths"]), dict(document["definitions"])
    for one in remote:
        prefix = f"/apis/{one.group}/{one.version}"
        said_paths, said_definitions = one.openapi_v2.get("paths"), one.openapi_v2.get("definitions")
        if not isinstance(said_paths, dict) or not isinstance(said_definitions, dict):
            continue
        paths |= {path: item for path, item in said_paths.items() if (path + "/").startswith(prefix + "/")}
        for name, schema in said_definitions.items():
            definitions.setdefault(name, schema)
    return {**document, "paths": dict(sorted(paths.items())), "definitions": dict(sorted(definitions.items()))}


def with_openapi_v3(document: Document, remote: Iterable[RemoteVersion]) -> Document:
    found = {
        f"apis/{one.group}/{one.version}": {"serverRelativeURL": one.openapi_v3} for one in remote if one.openapi_v3
    }
    return {**document, "paths": dict(sorted({**document["paths"], **found}.items()))}


# --- what an extension says -------------------------------------------------------------------------------------------


def resources_in(document: Any, group: str, version: str) -> tuple[Document, ...]:
    """APIResourceList to the form of aggregated discovery; nothing where it is none."""
    listed = document.get("resources") if isinstance(document, dict) else None
    found: dict[str, Document] = {}
    for one in listed[:RESOURCES_MAX] if isinstance(listed, list) else ():
        if not isinstance(one, dict) or not isinstance(one.get("name"), str) or not isinstance(one.get("kind"), str):
            continue
        parent, _, part = one["name"].partition("/")
        kind = {"group": text(one, "group") or group, "version": text(one, "version") or version, "kind": one["kind"]}
        verbs = texts(one, "verbs")
        if part:
            if parent in found:
                found[parent].setdefault("subresources", []).append(
                    {"subresource": part, "responseKind": kind, "verbs": verbs}
                )
            continue
        found[parent] = {
            "resource": parent,
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": text(one, "singularName") or one["kind"].lower(),
            "verbs": verbs,
            **{key: said for key in ("shortNames", "categories") if (said := texts(one, key))},
        }
    return tuple(found.values())


def text(document: Document, key: str) -> str:
    """What somebody else says; empty where it is no text."""
    said = document.get(key)
    return said if isinstance(said, str) else ""


def texts(document: Document, key: str) -> list[str]:
    said = document.get(key)
    return [one for one in said if isinstance(one, str)] if isinstance(said, list) else []


def openapi_v3_in(document: Any, group: str, version: str) -> str:
    paths = document.get("paths") if isinstance(document, dict) else None
    entry = paths.get(f"apis/{group}/{version}") if isinstance(paths, dict) else None
    address = entry.get("serverRelativeURL") if isinstance(entry, dict) else None
    wanted = f"/openapi/v3/apis/{group}/{version}"
    return address if isinstance(address, str) and address.partition("?")[0] == wanted else ""
