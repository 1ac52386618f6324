"""Custom kinds are kinds like any other to whoever looks after all of them: the garbage collector, namespaces on their way
out, quotas, roles."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from custom_kinds import definition
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, Namespace, ResourceQuota
from kybern.api.errors import ApiError, Forbidden, NotFound
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.api.rbac_v1 import PolicyRule, Role, RoleBinding, RoleRef, Subject
from kybern.client import Client, InMemory
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, running
from kybern.testing.objects import made as objects_made

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


async def call(client: Client, method: str, path: str, body: Any = None) -> Any:
    data = b"" if body is None else msgspec.json.encode(body)
    return msgspec.json.decode(await client.request(method, path, body=data))


def at(namespace: str, name: str = "") -> str:
    return f"/apis/example.com/v1/namespaces/{namespace}/widgets" + (f"/{name}" if name else "")


def widget(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, **metadata}, "spec": {"size": 3},
    }  # fmt: skip


def with_widgets(play: Callable[[Cluster], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(()) as cluster:
            await call(cluster.client, "POST", DEFINITIONS, definition())
            await cluster.advance(5)
            await play(cluster)

    virtual.run(main())


def test_what_belonged_to_something_that_is_gone_goes_too() -> None:
    async def play(cluster: Cluster) -> None:
        owner = await cluster.client.create(ConfigMap(metadata=ObjectMeta(name="owner", namespace="default")))
        ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
        made = await call(cluster.client, "POST", at("default"), widget("owned", ownerReferences=[ref]))
        child = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "owned", "uid": made["metadata"]["uid"]}
        await call(cluster.client, "POST", at("default"), widget("child", ownerReferences=[child]))
        await cluster.advance(5)
        await cluster.client.delete(ConfigMap, "owner", "default")
        await cluster.settle()
        for name in ("owned", "child"):
            with pytest.raises(NotFound):
                await call(cluster.client, "GET", at("default", name))

    with_widgets(play)


def test_a_namespace_takes_its_custom_objects_with_it() -> None:
    async def play(cluster: Cluster) -> None:
        await cluster.client.create(Namespace(metadata=ObjectMeta(name="doomed")))
        await call(cluster.client, "POST", at("doomed"), widget("a"))
        await cluster.client.delete(Namespace, "doomed")
        await cluster.settle()
        with pytest.raises(NotFound):
            await cluster.client.get(Namespace, "doomed")
        assert not [key for key in cluster.store._log.entries if key.startswith("/registry/example.com/")]

    with_widgets(play)


def test_a_quota_counts_custom_objects() -> None:
    async def play(cluster: Cluster) -> None:
        quota = ResourceQuota(metadata=ObjectMeta(name="few", namespace="default"))
        spec = msgspec.structs.replace(quota.spec, hard={"count/widgets.example.com": "1"})
        await cluster.client.create(msgspec.structs.replace(quota, spec=spec))
        await cluster.advance(2)
        await call(cluster.client, "POST", at("default"), widget("a"))
        with pytest.raises(Forbidden) as refused:
            await call(cluster.client, "POST", at("default"), widget("b"))
        assert "exceeded quota: few, requested: count/widgets.example.com=1" in refused.value.message
        await cluster.settle()
        found = await cluster.client.get(ResourceQuota, "few", "default")
        assert found.status.used == {"count/widgets.example.com": "1"}

    with_widgets(play)


def test_roles_name_custom_kinds_and_their_parts() -> None:
    async def play(cluster: Cluster) -> None:
        jane = Client(InMemory(cluster.server, token="jane"), user_agent="jane")
        with pytest.raises(ApiError):
            await call(jane, "GET", at("default"))
        rule = PolicyRule(api_groups=("example.com",), resources=("widgets",), verbs=("get", "list", "create"))
        await cluster.client.create(Role(metadata=ObjectMeta(name="r", namespace="default"), rules=(rule,)))
        subject = Subject(
            kind="User", name="system:serviceaccount:kube-system:jane", api_group="rbac.authorization.k8s.io"
        )
        binding = RoleBinding(
            metadata=ObjectMeta(name="r", namespace="default"),
            role_ref=RoleRef(kind="Role", name="r", api_group="rbac.authorization.k8s.io"),
            subjects=(subject,),
        )
        await cluster.client.create(binding)
        assert (await call(jane, "POST", at("default"), widget("a")))["metadata"]["name"] == "a"
        with pytest.raises(Forbidden):
            await call(jane, "DELETE", at("default", "a"))

    with_widgets(play)


def test_a_budget_takes_its_share_of_whatever_has_a_scale() -> None:
    async def play(cluster: Cluster) -> None:
        path = f"{DEFINITIONS}/widgets.example.com"
        found = await call(cluster.client, "GET", path)
        found["spec"]["versions"][0]["subresources"] = {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        }
        await call(cluster.client, "PUT", path, found)
        await cluster.advance(5)
        made = await call(cluster.client, "POST", at("default"), widget("group"))
        ref = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "group", "uid": made["metadata"]["uid"]}
        pod = objects_made("pod", "one", {"app": "group"})
        owners = (from_builtins(OwnerReference, {**ref, "controller": True}),)
        await cluster.client.create(replace(pod, metadata=replace(pod.metadata, owner_references=owners)))
        await cluster.client.create(objects_made("poddisruptionbudget", "group", {"spec.maxUnavailable": "1"}))
        await cluster.settle()
        budget = await cluster.client.get(PodDisruptionBudget, "group", "default")
        assert (budget.status.expected_pods, budget.status.desired_healthy) == (3, 2)

    with_widgets(play)
