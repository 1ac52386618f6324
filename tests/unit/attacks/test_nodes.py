"""What a node's agent may not do (NR01-NR18): each is refused, and done once the defence against it is taken away."""

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from secured_api import SecuredApi, secured_api

from kybern.api.core_v1 import Pod
from kybern.volumes.pod_certificates import KEYS, stub

CORE = "/api/v1/namespaces/x"
LEASES, CSINODES = "/apis/coordination.k8s.io/v1/namespaces", "/apis/storage.k8s.io/v1/csinodes"
NODE, ALLOW = "NodeRestriction", "authorization"
MIRROR = {"kubernetes.io/config.mirror": "h"}


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def pod(name: str, node: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "i"}]
    return named(name, spec={"containers": containers, "nodeName": node, "serviceAccountName": f"on-{node}", **spec})


def mirror(node: str = "n1", owner: Any = (), annotations: Any = None, **spec: Any) -> dict[str, Any]:
    """A mirror pod; `owner` changes its one owner, None takes it away."""
    owners = [{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "@n1", "controller": True, **dict(owner or ())}]
    metadata = {
        "name": "m", "annotations": MIRROR if annotations is None else annotations,
        "ownerReferences": owners if owner is not None else [],
    }  # fmt: skip
    spec = {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False, **spec}
    return {"metadata": metadata, "spec": {**spec, "nodeName": node}}


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **source}]}


def status(**changes: Any) -> dict[str, Any]:
    return {"status": changes}


@dataclass(frozen=True)
class Attack:
    row: str
    defence: str
    method: str
    url: str
    body: Any = None
    user: str = "system:node:n1"

    def __str__(self) -> str:
        return f"{self.row} {self.method} {self.url[-50:]}"


def labelled(**labels: str) -> dict[str, Any]:
    return {
        "metadata": {"labels": {name.replace("__", "/").replace("_", "."): value for name, value in labels.items()}}
    }


TOKEN = {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p1", "uid": "@p1"}}}
TOKEN2 = {"spec": {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p2", "uid": "@p2"}}}
STUB = b64encode(stub(KEYS["ED25519"]())).decode()
CERTIFICATES = "/apis/certificates.k8s.io/v1/namespaces/x/podcertificaterequests"
NODES, SLICES = "/api/v1/nodes", "/apis/resource.k8s.io/v1/resourceslices"


def devices(node: str) -> dict[str, Any]:
    pool = {"name": "p", "generation": 1, "resourceSliceCount": 1}
    return named(f"of-{node}", spec={"driver": "d.example.com", "nodeName": node, "pool": pool})


def certificate(**changes: str) -> dict[str, Any]:
    said = {
        "podName": "p1",
        "podUID": "@p1",
        "nodeName": "n1",
        "nodeUID": "@n1",
        "serviceAccountName": "on-n1",
        "serviceAccountUID": "@on-n1",
    }
    return named(
        "of-p1",
        spec={
            **said,
            "signerName": "example.com/s",
            "maxExpirationSeconds": 3600,
            "stubPKCS10Request": STUB,
            **changes,
        },
    )


ATTACKS = [
    *(
        Attack("certificate", NODE, "POST", CERTIFICATES, certificate(**changes))
        for changes in (
            {"nodeName": "n2", "nodeUID": "@n2"}, {"nodeUID": "@n2"}, {"podName": "p2", "podUID": "@p2"}, {"podUID": "@p2"},
            {"serviceAccountName": "on-n2", "serviceAccountUID": "@on-n2"}, {"serviceAccountUID": "@on-n2"},
        )
    ),
    Attack("NR01", NODE, "PATCH", f"{NODES}/n2/status", status(nodeInfo={"kubeletVersion": "x"})),
    Attack("NR01", NODE, "PATCH", f"{NODES}/n2", labelled(a="b")),
    Attack("NR02", NODE, "POST", NODES, named("n3")),
    Attack("NR03", NODE, "PATCH", f"{NODES}/n1", {"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}),
    Attack("NR03", NODE, "PATCH", f"{NODES}/n1", {"metadata": {"labels": {"sub.node-restriction.kubernetes.io/a": "b"}}}),
    Attack("NR03", NODE, "PATCH", f"{NODES}/n1", {"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}),
    Attack("NR03", NODE, "PATCH", f"{NODES}/n1", {"metadata": {"labels": {"a.k8s.io/b": "c"}}}),
    Attack("NR04", NODE, "PATCH", f"{NODES}/n1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
    Attack("NR06", f"{NODE}+{ALLOW}", "DELETE", f"{NODES}/n1"),
    Attack("NR06", f"{NODE}+OwnerReferencesPermissionEnforcement", "PATCH", f"{NODES}/n1", {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "1"}]}}),
    Attack("NR07", NODE, "POST", f"{CORE}/pods", mirror(annotations={})),
    Attack("NR08", NODE, "POST", f"{CORE}/pods", mirror(node="n2")),
    Attack("NR09", f"{NODE}+ServiceAccount", "POST", f"{CORE}/pods", mirror(serviceAccountName="on-n1")),
    Attack("NR09", f"{NODE}+ServiceAccount", "POST", f"{CORE}/pods", mirror(**volume(secret={"secretName": "s2"}))),
    Attack("NR09", NODE, "POST", f"{CORE}/pods", mirror(**volume(configMap={"name": "c2"}))),
    Attack("NR09", NODE, "POST", f"{CORE}/pods", mirror(**volume(persistentVolumeClaim={"claimName": "v2"}))),
    Attack("NR09", NODE, "POST", f"{CORE}/pods", mirror(**volume(projected={"sources": [{"clusterTrustBundle": {"name": "t", "path": "p"}}]}))),
    Attack("NR09", f"{NODE}+ServiceAccount", "POST", f"{CORE}/pods", mirror(containers=[{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s2"}}]}])),
    Attack("NR09", NODE, "POST", f"{CORE}/pods", mirror(resourceClaims=[{"name": "r", "resourceClaimName": "r"}])),
    Attack("NR10", NODE, "POST", f"{CORE}/pods", mirror(owner=None)),
    Attack("NR10", NODE, "POST", f"{CORE}/pods", mirror(owner={"uid": "another"})),
    Attack("NR10", NODE, "POST", f"{CORE}/pods", mirror(owner={"name": "n2", "uid": "@n2"})),
    Attack("NR10", NODE, "POST", f"{CORE}/pods", mirror(owner={"kind": "ConfigMap"})),
    Attack("NR11", NODE, "PATCH", f"{CORE}/pods/p2/status", status(phase="Failed")),
    Attack("NR11", NODE, "PATCH", f"{CORE}/pods/p1/status", {"metadata": {"labels": {"app": "other"}}}),
    Attack("NR12", NODE, "DELETE", f"{CORE}/pods/p2"),
    Attack("NR12", NODE, "POST", f"{CORE}/pods/p2/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", **named("p2")}),
    Attack("NR13", ALLOW, "POST", f"{CORE}/pods/p1/exec?command=sh"),
    Attack("NR13", ALLOW, "PATCH", f"{CORE}/pods/p1", {"metadata": {"labels": {"a": "b"}}}),
    Attack("NR14", ALLOW, "PATCH", f"{CORE}/persistentvolumeclaims/v1", labelled(a="b")),
    Attack("NR15", NODE, "POST", f"{CORE}/serviceaccounts/on-n1/token", {"spec": {}}),
    Attack("NR15", ALLOW, "POST", f"{CORE}/serviceaccounts/on-n2/token", {"spec": {}}),
    Attack("NR16", ALLOW, "POST", f"{LEASES}/x/leases", named("n1", spec={})),
    Attack("NR16", NODE, "POST", f"{LEASES}/kube-node-lease/leases", named("n2", spec={})),
    Attack("NR16", ALLOW, "PATCH", f"{LEASES}/kube-node-lease/leases/n2b", {"spec": {"holderIdentity": "n1"}}),
    Attack("NR17", NODE, "POST", CSINODES, named("n2", spec={"drivers": []})),
    Attack("NR18", ALLOW, "GET", f"{CORE}/secrets/s2"),
    Attack("NR18", ALLOW, "GET", f"{CORE}/secrets"),
    Attack("NR18", ALLOW, "GET", f"{CORE}/configmaps/c2"),
    Attack("NR18", ALLOW, "GET", f"{CORE}/persistentvolumeclaims/v2"),
    Attack("other pods", ALLOW, "GET", "/api/v1/pods"),
    Attack("other pods", ALLOW, "GET", f"{CORE}/pods/p2"),
    Attack("other pods", ALLOW, "GET", "/api/v1/pods?fieldSelector=spec.nodeName!=n1"),
    Attack("other pods", ALLOW, "GET", "/api/v1/pods?fieldSelector=&fieldSelector=spec.nodeName=n1"),
    Attack("other nodes", ALLOW, "GET", NODES),
    Attack("other nodes", ALLOW, "GET", f"{NODES}/n2"),
    Attack("NR15", ALLOW, "GET", f"{CORE}/serviceaccounts/on-n2"),
    Attack("audience", NODE, "POST", f"{CORE}/serviceaccounts/on-n1/token", {"spec": {**TOKEN["spec"], "audiences": ["elsewhere"]}}),
    Attack("claim", f"{NODE}+{ALLOW}", "PATCH", f"{CORE}/persistentvolumeclaims/v1/status", status(phase="Lost")),
    Attack("devices", NODE, "POST", SLICES, devices("n2")),
    Attack("devices", ALLOW, "GET", SLICES),
    Attack("no name", ALLOW, "GET", f"{CORE}/secrets/s1", None, "system:node:"),
    Attack("no group", ALLOW, "GET", f"{CORE}/secrets/s1", None, "system:node:n9"),
]  # fmt: skip


async def prepare(api: SecuredApi) -> dict[str, str]:
    """The uids that bodies name by `@`."""
    uids = {}
    await api.made("/api/v1/namespaces", named("x"))
    for number in "12":
        node = f"n{number}"
        uids[f"@{node}"] = (await api.made(NODES, named(node)))["metadata"]["uid"]
        account = await api.made(f"{CORE}/serviceaccounts", named(f"on-{node}", automountServiceAccountToken=False))
        uids[f"@on-{node}"] = account["metadata"]["uid"]
        await api.made(f"{CORE}/secrets", named(f"s{number}", stringData={"k": "canary"}))
        await api.made(f"{CORE}/configmaps", named(f"c{number}"))
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await api.made(f"{CORE}/persistentvolumeclaims", named(f"v{number}", spec=claim))
        volumes = [
            {"name": "s", "secret": {"secretName": f"s{number}"}},
            {"name": "c", "configMap": {"name": f"c{number}"}},
            {"name": "v", "persistentVolumeClaim": {"claimName": f"v{number}"}},
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        ]
        made = await api.made(f"{CORE}/pods", pod(f"p{number}", node, volumes=volumes))
        uids[f"@p{number}"] = made["metadata"]["uid"]
    await api.made(f"{CORE}/serviceaccounts", named("default", automountServiceAccountToken=False))
    await api.made(f"{LEASES}/kube-node-lease/leases", named("n2b", spec={}))
    return uids


def with_uids(value: Any, uids: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: with_uids(part, uids) for key, part in value.items()}
    if isinstance(value, list):
        return [with_uids(part, uids) for part in value]
    return uids.get(value, value) if isinstance(value, str) else value


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[tuple[SecuredApi, dict[str, str]]]:
    """One for all attacks that fail: they change nothing."""
    async with secured_api() as made:
        yield made, await prepare(made)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_a_node_is_refused_what_is_not_its_own(world: tuple[SecuredApi, dict[str, str]], attack: Attack) -> None:
    api, uids = world
    before = api.server.machine.store.revision
    answer = await api.ask(attack.user, attack.method, attack.url, with_uids(attack.body, uids))
    assert answer.status == 403, answer.body
    assert "canary" not in str(answer.body)
    assert api.server.machine.store.revision == before


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_without_the_defence_it_would_do_it(attack: Attack) -> None:
    async with secured_api(without=attack.defence) as api:
        uids = await prepare(api)
        if ALLOW in attack.defence:
            api.server.machine.use([one for one in api.server.machine.plugins if one.name != NODE])
        answer = await api.ask(attack.user, attack.method, attack.url, with_uids(attack.body, uids))
        assert answer.done, answer.body


OWN = [
    ("GET", f"{NODES}/n1", None),
    ("PATCH", f"{NODES}/n1/status", status(nodeInfo={"kubeletVersion": "x"})),
    ("PATCH", f"{NODES}/n1", {"metadata": {"labels": {"topology.kubernetes.io/zone": "a", "own": "b"}}}),
    ("GET", f"{CORE}/secrets/s1", None),
    ("GET", f"{CORE}/configmaps/c1", None),
    ("GET", f"{CORE}/persistentvolumeclaims/v1", None),
    ("GET", f"{CORE}/pods/p1", None),
    ("GET", f"{CORE}/pods?fieldSelector=spec.nodeName=n1", None),
    ("PATCH", f"{CORE}/pods/p1/status", status(phase="Running")),
    ("POST", f"{CORE}/pods", mirror()),
    ("POST", f"{CORE}/serviceaccounts/on-n1/token", TOKEN),
    ("POST", f"{LEASES}/kube-node-lease/leases", named("n1", spec={})),
    ("PATCH", f"{CORE}/persistentvolumeclaims/v1/status", status(capacity={"storage": "1Gi"})),
    ("GET", f"{CORE}/serviceaccounts/on-n1", None),
    ("POST", CERTIFICATES, certificate()),
    ("GET", f"{CERTIFICATES}?fieldSelector=spec.nodeName=n1", None),
    ("POST", SLICES, devices("n1")),
    ("GET", f"{SLICES}?fieldSelector=spec.nodeName=n1", None),
    ("POST", CSINODES, named("n1", spec={"drivers": []})),
    ("DELETE", f"{CORE}/pods/p1?gracePeriodSeconds=0", None),
]


@pytest.mark.parametrize(("method", "url", "body"), OWN)
async def test_a_node_does_what_is_its_own(method: str, url: str, body: Any) -> None:
    async with secured_api() as api:
        uids = await prepare(api)
        answer = await api.ask("system:node:n1", method, url, with_uids(body, uids))
        assert answer.done, answer.body


async def test_a_node_reads_no_secret_of_a_pod_that_has_left() -> None:
    """NR18."""
    async with secured_api() as api:
        await prepare(api)
        assert (await api.ask("system:node:n1", "GET", f"{CORE}/secrets/s1")).status == 200
        await api.objects.delete(Pod, "p1", "x")
        await api.ask("root", "DELETE", f"{CORE}/pods/p1?gracePeriodSeconds=0")
        assert (await api.ask("system:node:n1", "GET", f"{CORE}/secrets/s1")).status == 403


async def test_a_token_bound_to_another_nodes_pod_is_not_given_by_name_or_uid() -> None:
    """NR15."""
    async with secured_api() as api:
        uids = await prepare(api)
        url = f"{CORE}/serviceaccounts/on-n1/token"
        crossed = {"spec": {"boundObjectRef": {**TOKEN["spec"]["boundObjectRef"], "uid": uids["@p2"]}}}
        for body in (with_uids(TOKEN2, uids), crossed):
            assert (await api.ask("system:node:n1", "POST", url, body)).status in (403, 409)
