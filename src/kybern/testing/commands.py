"""What a script can do to a simulated cluster, and ask of it. Each command returns the lines that it prints."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.apps_v1 import ControllerRevision, Deployment, ReplicaSet
from kybern.api.autoscaling_v1 import Scale
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
)
from kybern.api.codec import decode, encode, to_builtins
from kybern.api.core_v1 import Endpoints, Event, Node, Pod
from kybern.api.discovery_v1 import EndpointHints, EndpointSlice
from kybern.api.errors import ApiError
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.api.policy_v1 import Eviction
from kybern.api.rbac_v1 import ClusterRoleBinding, RoleRef, Subject
from kybern.client import Client, InMemory
from kybern.client.paths import kind_of, path_of, query_of
from kybern.testing.certificates import signing_request
from kybern.testing.cluster import Cluster
from kybern.testing.objects import NAMESPACED, TYPES, made, value_of

Lines = list[str]
Command = Callable[[Cluster, Sequence[str]], Awaitable[Lines]]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REVISION = "deployment.kubernetes.io/revision"


def options_of(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def place(word: str) -> tuple[type[Any], str, str]:
    """`deployment/web` or `deployment/web/namespace`: type, name, namespace."""
    kind, name, *namespace = word.split("/")
    return TYPES[kind], name, (namespace or ["default"])[0] if kind in NAMESPACED else ""


def table(rows: Iterable[Sequence[Any]]) -> Lines:
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ["none"]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]


# What changes the cluster.


async def create(cluster: Cluster, words: Sequence[str]) -> Lines:
    kind, name, *rest = words
    options = options_of(rest)
    if "owner" in options:
        of, owner, namespace = place(options["owner"])
        found = await cluster.client.get(of, owner, namespace)
        options["owner"] = f"{options['owner'].split('/')[0]}/{owner}/{found.metadata.uid}"
    await cluster.client.create(made(kind, name, options))
    return []


async def delete(cluster: Cluster, words: Sequence[str]) -> Lines:
    (of, name, namespace), options = place(words[0]), options_of(words[1:])
    await cluster.client.delete(of, name, namespace, propagation=options.get("propagation", ""))
    return []


async def set_field(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`set deployment/web spec.replicas=3`; `~` stands for a full stop in a name."""
    return await change(cluster, words, "")


async def set_status(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`status pod/web-1 status.phase=Failed`, as whoever may write a status says it."""
    return await change(cluster, words, "status")


async def change(cluster: Cluster, words: Sequence[str], subresource: str) -> Lines:
    of, name, namespace = place(words[0])
    for path, text in options_of(words[1:]).items():
        patch: Any = value_of(text)
        for part in reversed(path.split(".")):
            patch = {part.replace("~", "."): patch}
        await cluster.client.patch(of, name, namespace, patch, subresource=subresource)
    return []


async def scale(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`scale deployment/web 5`: through the scale subresource, as `kubectl scale` does; without a number it is shown."""
    of, name, namespace = place(words[0])
    path = path_of(kind_of(of), namespace, name, "scale")
    found = decode(Scale, await cluster.client.request("GET", path))
    if len(words) > 1:
        wanted = replace(found, spec=replace(found.spec, replicas=int(words[1])))
        await cluster.client.request("PUT", path, "", encode(wanted))
        return []
    return [f"{found.spec.replicas} wanted, {found.status.replicas} there, selected by {found.status.selector}"]


async def delete_collection(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`deletecollection deployment app=web`: all that have this label."""
    kind, query = kind_of(TYPES[words[0]]), query_of(labelSelector=words[1])
    await cluster.client.request("DELETE", path_of(kind, "default"), query)
    return []


async def end(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`end pod-1 3`: it ends by itself now, with this exit code or none."""
    code = words[1] if len(words) > 1 else "0"
    told = {"simulated/runs-seconds": "0", "simulated/exit-code": code}
    await cluster.client.patch(Pod, words[0], "default", {"metadata": {"annotations": told}})
    return []


async def image(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`image deployment/web web:2 ready=never`"""
    (of, name, namespace), told = place(words[0]), options_of(words[2:])
    annotations = {f"simulated/{key}": value for key, value in told.items()}
    template = {
        **({"metadata": {"annotations": annotations}} if annotations else {}),
        "spec": {"containers": [{"name": "main", "image": words[1]}]},
    }
    await cluster.client.patch(of, name, namespace, {"spec": {"template": template}})
    return []


async def undo(cluster: Cluster, words: Sequence[str]) -> Lines:
    """As `kubectl rollout undo` does: the template of an earlier revision."""
    _, name, namespace = place(words[0])
    wanted = words[1]
    for rs in await cluster.client.list(ReplicaSet, namespace):
        if (rs.metadata.annotations or {}).get(REVISION) == wanted and rs.spec.template is not None:
            template = to_builtins(rs.spec.template)
            template["metadata"]["labels"]["pod-template-hash"] = None
            template["metadata"].setdefault("annotations", None)
            await cluster.client.patch(Deployment, name, namespace, {"spec": {"template": template}})
            return []
    return [f"no revision {wanted}"]


async def evict(cluster: Cluster, words: Sequence[str]) -> Lines:
    """Ask for each pod, in turn, as `kubectl drain` does."""
    lines = []
    for word in words:
        _, name, namespace = place(word)
        eviction = Eviction(metadata=ObjectMeta(name=name, namespace=namespace))
        try:
            await cluster.client.subresource(Pod, name, namespace, "eviction", eviction, Status)
        except ApiError as error:
            lines.append(f"{name}: {error.message}")
    return lines


async def silence(cluster: Cluster, words: Sequence[str]) -> Lines:
    for name in words:
        cluster.nodes.silence(name)
    return []


async def revive(cluster: Cluster, words: Sequence[str]) -> Lines:
    for name in words:
        cluster.nodes.revive(name)
    return []


async def remove_node(cluster: Cluster, words: Sequence[str]) -> Lines:
    for name in words:
        cluster.nodes.silence(name)
        await cluster.client.delete(Node, name)
    return []


async def settle(cluster: Cluster, words: Sequence[str]) -> Lines:
    await cluster.settle()
    return []


async def advance(cluster: Cluster, words: Sequence[str]) -> Lines:
    await cluster.advance(float(words[0][:-1]) * UNITS[words[0][-1]])
    return []


async def bind(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`bind system:node-bootstrapper system:nodes`: a group gets a role's rights."""
    role, group = words
    await cluster.client.create(
        ClusterRoleBinding(
            metadata=ObjectMeta(name=role),
            role_ref=RoleRef(api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=role),
            subjects=(Subject(kind="Group", api_group="rbac.authorization.k8s.io", name=group),),
        )
    )
    return []


async def certify(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`certify mine user=system:node:n1 name=system:node:n1 groups=system:nodes signer=... usages=a,b`"""
    told = options_of(words[1:])
    client = Client(InMemory(cluster.server, token=told.get("user", "")))
    groups = [group for group in told.get("groups", "").split(",") if group]
    request = signing_request(told["name"], groups, told.get("dns", ""))
    spec = CertificateSigningRequestSpec(
        request=request, signer_name=told["signer"], usages=tuple(told["usages"].replace("_", " ").split(","))
    )
    await client.create(CertificateSigningRequest(metadata=ObjectMeta(name=words[0]), spec=spec))
    return []


async def measure(cluster: Cluster, words: Sequence[str]) -> Lines:
    """`measure usage/web/cpu 300m`, `measure pods/web/requests 20`, `measure objects/main/hits 100`, `measure
    outside/queue 30`: what the metrics APIs tell from now on."""
    api, *what = words[0].split("/")
    into = getattr(cluster.measured, api)
    into[tuple(what) if len(what) > 1 else what[0]] = words[1]
    return []


async def approve(cluster: Cluster, words: Sequence[str]) -> Lines:
    """As `kubectl certificate approve` does; `approve mine Denied` as its opposite."""
    csr = await cluster.client.get(CertificateSigningRequest, words[0])
    type_, moment = (*words[1:], "Approved")[0], rfc3339(cluster.clock.wall())
    condition = CertificateSigningRequestCondition(
        type=type_, status="True", reason="Kubectl", message="by hand", last_update_time=moment
    )
    await cluster.client.update(
        replace(csr, status=replace(csr.status, conditions=(condition,))), subresource="approval"
    )
    return []


# What asks.


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


COMMANDS: dict[str, Command] = {
    "advance": advance, "approve": approve, "bind": bind, "certify": certify, "conditions": conditions,
    "counts": counts, "create": create, "delete": delete, "deletecollection": delete_collection, "end": end, "endpoint_states": endpoint_states, "endpoints": endpoints, "events": events,
    "evict": evict, "hints": hints, "image": image, "issued": issued, "keys": keys, "list": list_names, "measure": measure,
    "nodestate": nodes, "pods": pods, "quota": quota, "remove": remove_node, "replicasets": replicasets,
    "revisions": revisions, "revive": revive, "scale": scale, "set": set_field, "settle": settle, "show": show, "silence": silence, "slices": slices,
    "status": set_status, "undo": undo,
}  # fmt: skip
