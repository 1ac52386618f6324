"""What a script can do to a simulated cluster. What it can ask is in `questions`."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.apps_v1 import Deployment, ReplicaSet
from kybern.api.autoscaling_v1 import Scale
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestSpec,
)
from kybern.api.codec import decode, encode, to_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import ApiError
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.api.policy_v1 import Eviction
from kybern.api.rbac_v1 import ClusterRoleBinding, RoleRef, Subject
from kybern.client import Client, InMemory
from kybern.client.paths import kind_of, path_of, query_of
from kybern.testing.certificates import signing_request
from kybern.testing.cluster import Cluster
from kybern.testing.objects import TYPES, made, value_of
from kybern.testing.questions import QUESTIONS
from kybern.testing.words import Command, Lines, options_of, place

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
REVISION = "deployment.kubernetes.io/revision"


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


COMMANDS: dict[str, Command] = {
    **QUESTIONS,
    "advance": advance, "approve": approve, "bind": bind, "certify": certify, "create": create,
    "delete": delete, "deletecollection": delete_collection, "end": end, "evict": evict, "image": image,
    "measure": measure, "remove": remove_node, "revive": revive, "scale": scale, "set": set_field,
    "settle": settle, "silence": silence, "status": set_status, "undo": undo,
}  # fmt: skip
