"""What a quota's status says is used."""

import asyncio
from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, ResourceQuota, Service
from kybern.api.meta_v1 import ObjectMeta
from kybern.client.paths import kind_of
from kybern.controllers.resourcequota import RESOURCEQUOTA, counted_by_name, used
from kybern.testing.cluster import running
from kybern.testing.virtual import run


def quota(hard: dict[str, str], **spec: Any) -> ResourceQuota:
    meta = {"name": "q", "namespace": "default"}
    return from_builtins(ResourceQuota, {"metadata": meta, "spec": {"hard": hard, **spec}})


def pod(name: str, phase: str = "Running", priority: str = "", **requests: str) -> Any:
    spec: dict[str, Any] = {"containers": [{"name": "c", "resources": {"requests": requests, "limits": requests}}]}
    body = {"metadata": {"name": name}, "spec": {**spec, "priorityClassName": priority}, "status": {"phase": phase}}
    return from_builtins(Pod, body), kind_of(Pod)


def test_only_what_the_quota_limits_is_told_and_zero_is_told_too() -> None:
    hard = {"requests.cpu": "4", "limits.memory": "4Gi", "pods": "5", "services": "1"}
    pods = [pod("a", cpu="500m", memory="1Gi"), pod("b", cpu="1", memory="512Mi")]
    assert used(quota(hard), pods, set()) == {
        "requests.cpu": "1500m", "limits.memory": "1536Mi", "pods": "2", "services": "0",
    }  # fmt: skip


def test_a_finished_pod_is_an_object_and_nothing_more() -> None:
    hard = {"pods": "5", "count/pods": "5", "cpu": "1"}
    assert used(quota(hard), [pod("a", "Succeeded", cpu="1")], set()) == {"pods": "0", "count/pods": "1", "cpu": "0"}


def test_a_scope_leaves_other_pods_out() -> None:
    high = {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}
    pods = [pod("a", priority="high"), pod("b", priority="low")]
    assert used(quota({"pods": "5"}, scopeSelector=high), pods, set()) == {"pods": "1"}


def test_affinity_to_other_namespaces_is_a_scope() -> None:
    term = {"topologyKey": "zone", "namespaces": ["other"]}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    far = from_builtins(Pod, {"spec": {"containers": [{"name": "c"}], "affinity": affinity}})
    terms = {"matchExpressions": [{"scopeName": "CrossNamespacePodAffinity", "operator": "Exists"}]}
    objects = [(far, kind_of(Pod)), pod("near")]
    assert used(quota({"pods": "5"}, scopeSelector=terms), objects, set()) == {"pods": "1"}


def test_services_and_claims_cost_what_their_specs_say() -> None:
    balanced = from_builtins(Service, {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}, {"port": 2}]}})
    body = {"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}}}
    claim = from_builtins(PersistentVolumeClaim, body)
    fast = "fast.storageclass.storage.k8s.io/requests.storage"
    hard = dict.fromkeys(("services.nodeports", "services.loadbalancers", "requests.storage", fast), "9")
    objects = [(balanced, kind_of(Service)), (claim, kind_of(PersistentVolumeClaim))]
    assert used(quota(hard), objects, set()) == {
        "services.nodeports": "2", "services.loadbalancers": "1", "requests.storage": "10Gi", fast: "10Gi",
    }  # fmt: skip


def test_nothing_is_said_of_a_kind_that_is_not_served() -> None:
    assert used(quota({"count/widgets.example.com": "1"}), [], {"widgets.example.com"}) == {}


def test_what_is_counted_by_its_number() -> None:
    hard = ("pods", "count/pods", "services", "secrets", "count/deployments.apps", "requests.cpu", "count/secrets")
    assert counted_by_name(hard) == {"secrets", "deployments.apps"}


def test_a_deletion_is_released_within_a_second() -> None:
    async def story() -> None:
        async with running(loops=(RESOURCEQUOTA,)) as cluster:
            await cluster.client.create(quota({"configmaps": "1"}))
            await cluster.client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="default")))
            await asyncio.sleep(1)
            assert (await cluster.client.get(ResourceQuota, "q", "default")).status.used == {"configmaps": "1"}
            await cluster.client.delete(ConfigMap, "a", "default")
            await asyncio.sleep(1)
            assert (await cluster.client.get(ResourceQuota, "q", "default")).status.used == {"configmaps": "0"}

    run(story())
