"""Discovery: which groups, versions and resources are served, as documents that clients read before anything else.

Pure functions from the served resources to JSON values. `documents.Documents` caches and serves them.
"""

import base64
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from kybern.registry.resource import Resource, Subresource, same

Document = dict[str, Any]

MAJOR, MINOR = "1", "37"
GIT_VERSION = "v1.37.0+kybern"
BUILD_DATE = "2026-11-23T00:00:00Z"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# Groups in upstream's order of preference: where a name exists in two groups, clients take the first.
GROUP_ORDER = {
    group: place
    for place, group in enumerate((
        "", "apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io",
        "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io",
        "storage.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io",
        "coordination.k8s.io", "node.k8s.io", "discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io",
        "storagemigration.k8s.io",
    ))
}  # fmt: skip
VERBS = {"post": "create", "put": "update", "get": "get", "list": "list", "watch": "watch", "patch": "patch",
         "delete": "delete", "deletecollection": "deletecollection"}  # fmt: skip
VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def verbs_of(methods: Iterable[str]) -> list[str]:
    """HTTP methods, as the registry has them, to the verbs that discovery and authorization name."""
    return sorted({VERBS[method] for method in methods if method in VERBS})


def version_order(version: str) -> tuple[int, int, int, str]:
    """Stable before beta before alpha, the higher first, anything else last."""
    match = VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    level = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return level, -int(match[1]), -int(match[3] or 0), version


def by_version(resources: Iterable[Resource]) -> dict[tuple[str, str], list[Resource]]:
    """The resources of every group and version, groups and versions in their order of preference."""
    found: dict[tuple[str, str], list[Resource]] = {}
    for resource in resources:
        found.setdefault((resource.kind.group, resource.kind.version), []).append(resource)
    ordered = sorted(found, key=lambda key: (GROUP_ORDER.get(key[0], len(GROUP_ORDER)), key[0], version_order(key[1])))
    return {key: sorted(found[key], key=lambda resource: resource.kind.plural) for key in ordered}


def singular_of(resource: Resource) -> str:
    return resource.singular or resource.kind.kind.lower()


def storage_hashes(resources: Iterable[Resource]) -> dict[str, str]:
    """Place in the store → upstream's hash of the version that is stored there: who migrates data watches it change."""
    stored = {resource.prefix: resource.kind for resource in resources if resource.to_storage is same}
    texts = {
        prefix: f"{kind.group}/{kind.version}/{kind.kind}"
        for prefix, kind in stored.items()
        if {"post", "watch"} <= {*kind.verbs}
    }
    digests = {prefix: hashlib.sha256(text.encode()).digest() for prefix, text in texts.items()}
    return {prefix: base64.b64encode(digest[:8]).decode() for prefix, digest in digests.items()}


# --- one document for each group and version --------------------------------------------------------------------------


def api_versions(address: str) -> Document:
    """/api"""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(resources: Iterable[Resource]) -> Document:
    """/apis"""
    versions: dict[str, list[str]] = {}
    for group, version in by_version(resources):
        if group:
            versions.setdefault(group, []).append(version)
    groups = [_group(group, names) for group, names in versions.items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group_document(group: str, resources: Iterable[Resource]) -> Document | None:
    """/apis/<group>; None where nothing of it is served."""
    versions = [version for name, version in by_version(resources) if name == group]
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)} if group and versions else None


def _group(group: str, versions: list[str]) -> Document:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def resource_list(group: str, version: str, resources: Iterable[Resource]) -> Document | None:
    """/api/v1 and /apis/<group>/<version>; None where nothing of it is served."""
    served = tuple(resources)
    found = by_version(served).get((group, version))
    if found is None:
        return None
    hashes = storage_hashes(served)
    listed = [item for resource in found for item in _resource_and_parts(resource, hashes)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": listed,
    }


def _resource_and_parts(resource: Resource, hashes: Mapping[str, str]) -> Iterable[Document]:
    kind = resource.kind
    found: Document = {
        "name": kind.plural,
        "singularName": singular_of(resource),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs_of(kind.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if resource.prefix in hashes:
        found["storageVersionHash"] = hashes[resource.prefix]
    yield found
    for part in sorted(resource.subresources, key=lambda part: part.name):
        yield _part(resource, part)


def _part(resource: Resource, part: Subresource) -> Document:
    found: Document = {
        "name": f"{resource.kind.plural}/{part.name}",
        "singularName": "",
        "namespaced": resource.kind.namespaced,
        "kind": (part.kind or resource.kind).kind,
        "verbs": verbs_of(part.verbs),
    }
    if part.kind is not None and (part.kind.group, part.kind.version) != (resource.kind.group, resource.kind.version):
        found |= {"group": part.kind.group, "version": part.kind.version}
    return found


# --- everything in one document ---------------------------------------------------------------------------------------


def aggregated(resources: Iterable[Resource], core: bool, version: str = "v2") -> Document:
    """/api (`core`) and /apis in one answer each, `apidiscovery.k8s.io` in the version asked for."""
    groups: dict[str, list[Document]] = {}
    for (group, name), found in by_version(resources).items():
        if core == (group == ""):
            described = {
                "version": name,
                "resources": [_described(resource) for resource in found],
                "freshness": "Current",
            }
            groups.setdefault(group, []).append(described)
    items = [
        {"metadata": {**({"name": group} if group else {}), "creationTimestamp": None}, "versions": versions}
        for group, versions in groups.items()
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _described(resource: Resource) -> Document:
    kind = resource.kind
    found: Document = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": singular_of(resource),
        "verbs": verbs_of(kind.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if resource.subresources:
        found["subresources"] = [
            _described_part(resource, part) for part in sorted(resource.subresources, key=lambda part: part.name)
        ]
    return found


def _described_part(resource: Resource, part: Subresource) -> Document:
    kind = part.kind or resource.kind
    return {
        "subresource": part.name,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "verbs": verbs_of(part.verbs),
    }


# --- version ----------------------------------------------------------------------------------------------------------


def version_document() -> Document:
    """/version"""
    python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    machine = os.uname().machine
    return {
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": str(int(MINOR) - 1),
        "gitVersion": GIT_VERSION,
        "gitCommit": hashlib.sha256(GIT_VERSION.encode()).hexdigest()[:40],  # clients expect forty hex digits
        "gitTreeState": "clean",
        "buildDate": BUILD_DATE,
        "goVersion": f"python{python}",
        "compiler": sys.implementation.name,
        "platform": f"linux/{ARCHITECTURES.get(machine, machine)}",
    }
