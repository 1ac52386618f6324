"""What a script can ask of a simulated cluster. Each question returns the lines that it prints."""

from collections.abc import Sequence
from typing import Any

import msgspec

from kybern.api.apps_v1 import ControllerRevision, ReplicaSet
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
)
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Endpoints, Event, Node, Pod
from kybern.api.discovery_v1 import EndpointHints, EndpointSlice
from kybern.testing.cluster import Cluster
from kybern.testing.objects import TYPES
from kybern.testing.words import Command, Lines, place, table

REVISION = "deployment.kubernetes.io/revision"


async def pods(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Name, phase, readiness, node; with `image`, the image."""
    rows = []
    for pod in cluster.view.list(Pod):
        ready = any(found.type == "Ready" and found.status == "True" for found in pod.status.conditions or ())
        phase = "Terminating" if pod.metadata.deletion_timestamp else pod.status.phase or "Pending"
        row = [pod.metadata.name, phase, "ready" if ready else "-"]
        rows.append([*row, pod.spec.containers[0].image if "image" in words else pod.spec.node_name or "-"])
    return table(rows)


async def counts(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`counts deployment/web`: the numbers in its status."""
    of, name, namespace = place(words[0])
    status = to_builtins((await cluster.client.get(of, name, namespace)).status)
    return [" ".join(f"{field}={value}" for field, value in sorted(status.items()) if isinstance(value, int | str))]


async def replicasets(cluster: Cluster, words: Sequence[str]) -> Lines:
    rows = []
    for rs in await cluster.client.list(ReplicaSet):
        revision = (rs.metadata.annotations or {}).get(REVISION, "-")
        counted = f"{rs.spec.replicas}/{rs.status.replicas}/{rs.status.available_replicas or 0}"
        rows.append((f"revision {revision}", counted, rs.metadata.name))
    return table(sorted(rows))


async def conditions(cluster: Cluster, words: Sequence[str]) -> Lines:
    of, name, namespace = place(words[0])
    found = (await cluster.client.get(of, name, namespace)).status.conditions or ()
    return table(sorted((one.type, one.status, one.reason, one.message) for one in found))


async def nodes(cluster: Cluster, words: Sequence[str]) -> Lines:
    rows = []
    for node in await cluster.client.list(Node):
        ready = next((found.status for found in node.status.conditions or () if found.type == "Ready"), "-")
        taints = ",".join(sorted(f"{taint.key}:{taint.effect}" for taint in node.spec.taints or ()))
        rows.append((node.metadata.name, ready, taints or "-"))
    return table(rows)


async def endpoints(cluster: Cluster, words: Sequence[str]) -> Lines:
    rows = []
    for found in await cluster.client.list(Endpoints, "default"):
        for subset in found.subsets or ():
            ready, other = len(subset.addresses or ()), len(subset.not_ready_addresses or ())
            rows.append((found.metadata.name, f"{ready} ready", f"{other} not ready"))
    return table(rows)


async def slices(cluster: Cluster, words: Sequence[str]) -> Lines:
    rows = []
    for found in await cluster.client.list(EndpointSlice, "default"):
        service = (found.metadata.labels or {}).get("kubernetes.io/service-name")
        rows.append((service, found.address_type, f"{len(found.endpoints or ())} endpoints"))
    return table(sorted(rows))


async def endpoint_states(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Every endpoint of every Service, and what is told of it."""
    rows = []
    for found in await cluster.client.list(EndpointSlice, "default"):
        service = (found.metadata.labels or {}).get("kubernetes.io/service-name")
        for endpoint in found.endpoints or ():
            told = to_builtins(endpoint.conditions)
            holding = [name for name in ("ready", "serving", "terminating") if told.get(name)]
            rows.append((service, (endpoint.target_ref and endpoint.target_ref.name) or "-", " ".join(holding) or "-"))
    return table(sorted(rows))


async def hints(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Every endpoint of every Service: its node, and for which zones and nodes it is the nearest."""
    rows = []
    for found in await cluster.client.list(EndpointSlice, "default"):
        service = (found.metadata.labels or {}).get("kubernetes.io/service-name")
        for endpoint in found.endpoints or ():
            told = endpoint.hints or EndpointHints()
            near = [",".join(one.name for one in some or ()) or "-" for some in (told.for_zones, told.for_nodes)]
            rows.append((service, endpoint.node_name, *near))
    return table(sorted(rows))


async def revisions(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Every ControllerRevision: whose it is, its number, and the image in it."""
    rows = []
    for found in await cluster.client.list(ControllerRevision, "default"):
        owner = (found.metadata.owner_references or ())[0]
        image = found.data["spec"]["template"]["spec"]["containers"][0]["image"]
        rows.append((owner.kind, owner.name, f"revision {found.revision}", image))
    return table(sorted(rows))


async def events(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`events deployment`: what was told about objects of a kind, in order."""
    told = [
        event for event in await cluster.client.list(Event) if (event.involved_object.kind or "").lower() == words[0]
    ]
    told.sort(key=lambda event: (event.first_timestamp or "", int(event.metadata.resource_version or "0")))
    return table((event.type, event.reason, event.message, f"x{event.count}") for event in told)


async def list_names(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`list configmap`: names, without what every namespace has."""
    found = [obj.metadata.name for obj in await cluster.client.list(TYPES[words[0]])]
    return [name for name in found if name != "kube-root-ca.crt"] or ["none"]


async def show(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`show pod/web-1 spec.nodeName metadata.labels`: fields, as JSON."""
    of, name, namespace = place(words[0])
    found = to_builtins(await cluster.client.get(of, name, namespace))
    return [msgspec.json.encode(field(found, path), order="sorted").decode() for path in words[1:]]


def field(value: Any, path: str) -> Any:
    for part in path.split("."):
        if value is None:
            return None
        value = value[int(part)] if isinstance(value, list | tuple) else value.get(part.replace("~", "."))
    return value


async def quota(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`quota resourcequota/small`: what is used of what is allowed, as `kubectl describe quota` shows it."""
    of, name, namespace = place(words[0])
    status = (await cluster.client.get(of, name, namespace)).status
    return table((key, (status.used or {}).get(key, "-"), most) for key, most in sorted((status.hard or {}).items()))


async def issued(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Every certificate request: who asked, what was decided, and whether there is a certificate."""
    rows = []
    for csr in await cluster.client.list(CertificateSigningRequest):
        decided = ",".join(sorted(condition.type for condition in csr.status.conditions or ())) or "Pending"
        rows.append((csr.metadata.name, csr.spec.username, decided, "issued" if csr.status.certificate else "-"))
    return table(rows)


async def keys(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`keys secret/mine`: the names of what a ConfigMap or a Secret holds."""
    of, name, namespace = place(words[0])
    return sorted((await cluster.client.get(of, name, namespace)).data or {}) or ["none"]


QUESTIONS: dict[str, Command] = {
    "conditions": conditions, "counts": counts, "endpoint_states": endpoint_states, "endpoints": endpoints,
    "events": events, "hints": hints, "issued": issued, "keys": keys, "list": list_names, "nodestate": nodes,
    "pods": pods, "quota": quota, "replicasets": replicasets, "revisions": revisions, "show": show,
    "slices": slices,
}  # fmt: skip
