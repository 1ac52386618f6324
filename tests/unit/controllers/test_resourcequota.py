"""What a quota's status says is used."""

import asyncio
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.resource_v1 import ResourceClaim
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


def test_of_a_kind_that_is_not_served_for_a_while_the_last_number_stays() -> None:
    hard = {"pods": "5", "count/widgets.example.com": "9"}
    assert used(quota(hard), [], {"widgets.example.com"}) == {"pods": "0"}
    counted = replace(quota(hard), status=ResourceQuotaStatus(hard=hard, used={"count/widgets.example.com": "7"}))
    assert used(counted, [], {"widgets.example.com"}) == {"pods": "0", "count/widgets.example.com": "7"}


def test_a_finished_pod_is_an_object_and_nothing_more() -> None:
    hard = {"pods": "5", "count/pods": "5", "cpu": "1"}
    assert used(quota(hard), [pod("a", "Succeeded", cpu="1")], set()) == {"pods": "0", "count/pods": "1", "cpu": "0"}


def test_a_pod_that_should_long_be_gone_does_not_count() -> None:
    doomed, kind = pod("a", cpu="1")
    meta = replace(doomed.metadata, deletion_timestamp="2026-01-01T00:00:30Z", deletion_grace_period_seconds=30)
    objects = [(replace(doomed, metadata=meta), kind)]
    deleted_at = from_rfc3339("2026-01-01T00:00:30Z")
    hard = quota({"pods": "5", "count/pods": "5"})
    assert used(hard, objects, set(), deleted_at + 30) == {"pods": "1", "count/pods": "1"}
    assert used(hard, objects, set(), deleted_at + 31) == {"pods": "0", "count/pods": "1"}


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


def test_a_pod_costs_what_it_needs_at_its_largest_moment() -> None:
    def container(name: str, cpu: str, **more: str) -> dict[str, Any]:
        return {"name": name, "resources": {"requests": {"cpu": cpu, "hugepages-2Mi": "2Mi"}}, **more}

    spec = {
        "containers": [container("main", "1")],
        "initContainers": [container("sidecar", "500m", restartPolicy="Always"), container("init", "200m")],
        "overhead": {"cpu": "100m"},
    }
    found = from_builtins(Pod, {"metadata": {"name": "a"}, "spec": spec})
    hard = {"cpu": "9", "requests.cpu": "9", "hugepages-2Mi": "9Mi", "requests.hugepages-2Mi": "9Mi"}
    assert used(quota(hard), [(found, kind_of(Pod))], set()) == {
        "cpu": "1600m", "requests.cpu": "1600m", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi",
    }  # fmt: skip


def test_a_load_balancer_that_wants_no_node_ports_costs_those_it_has() -> None:
    spec = {
        "type": "LoadBalancer",
        "allocateLoadBalancerNodePorts": False,
        "ports": [{"port": 1}, {"port": 2, "nodePort": 30000}],
    }
    found = from_builtins(Service, {"metadata": {"name": "a"}, "spec": spec})
    assert used(quota({"services.nodeports": "5"}), [(found, kind_of(Service))], set()) == {"services.nodeports": "1"}


def test_a_claim_of_volumes_is_in_the_scope_of_each_class_that_it_has_or_wants() -> None:
    def claim(wanted: str, current: str) -> Any:
        body = {
            "metadata": {"name": "a"},
            "spec": {"volumeAttributesClassName": wanted},
            "status": {"currentVolumeAttributesClassName": current},
        }
        return from_builtins(PersistentVolumeClaim, body), kind_of(PersistentVolumeClaim)

    def counted(operator: str, *values: str) -> str:
        term = {"scopeName": "VolumeAttributesClass", "operator": operator, "values": list(values)}
        scoped = quota({"persistentvolumeclaims": "5"}, scopeSelector={"matchExpressions": [term]})
        claims = [claim("gold", "gold"), claim("gold", "silver"), claim("", "")]
        return used(scoped, [*claims, pod("p")], set())["persistentvolumeclaims"]

    assert [counted("In", "gold"), counted("In", "silver"), counted("Exists"), counted("DoesNotExist")] == list("2121")


def test_a_claim_of_devices_costs_the_most_that_it_may_get_of_each_class() -> None:
    requests = [
        {"name": "a", "exactly": {"deviceClassName": "gpu", "count": 2}},
        {"name": "b", "firstAvailable": [{"deviceClassName": "gpu", "count": 3}, {"deviceClassName": "fpga"}]},
        {"name": "c", "exactly": {"deviceClassName": "nic", "allocationMode": "All"}},
    ]
    found = from_builtins(ResourceClaim, {"metadata": {"name": "a"}, "spec": {"devices": {"requests": requests}}})
    hard = {f"{name}.deviceclass.resource.k8s.io/devices": "99" for name in ("gpu", "fpga", "nic")}
    assert list(used(quota(hard), [(found, kind_of(ResourceClaim))], set()).values()) == ["5", "1", "32"]


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
