"""What an object costs, in the names that quotas use: pods, requests.cpu, services.nodeports, count/deployments.apps."""

from collections.abc import Mapping
from typing import Any

from kybern.api.core_v1 import PersistentVolumeClaim, Pod, ResourceQuota, ResourceRequirements, Service
from kybern.api.kind import Kind
from kybern.api.quantity import add, compare
from kybern.api.shape import Quantity

Usage = dict[str, Quantity]
ONE = Quantity("1")
COUNTED_BY_NAME = {  # core kinds that a quota counts by their plural alone
    "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
}  # fmt: skip
COMPUTE = {"cpu": "requests", "memory": "requests", "ephemeral-storage": "requests"}


def usage_of(obj: Any, kind: Kind) -> Usage:
    usage: Usage = {f"count/{kind.group_resource}": ONE}
    if kind.group_resource in COUNTED_BY_NAME:
        usage[kind.plural] = ONE
    if isinstance(obj, Pod):
        usage |= pod_usage(obj)
    elif isinstance(obj, Service):
        usage |= service_usage(obj)
    elif isinstance(obj, PersistentVolumeClaim):
        usage |= claim_usage(obj)
    return usage


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def pod_usage(pod: Pod) -> Usage:
    if is_finished(pod):
        return {}
    usage: Usage = {"pods": ONE}
    for part in ("requests", "limits"):
        for name, amount in with_overhead(pod, pod_total(pod, part)).items():
            if part == "limits" and name not in COMPUTE:
                continue
            usage[f"{part}.{name}"] = amount
            if part == "requests" and name in COMPUTE:
                usage[name] = amount
    return usage


def pod_total(pod: Pod, part: str) -> Usage:
    """All containers together; or the largest init container, where that is more."""
    total: Usage = {}
    for container in pod.spec.containers:
        for name, amount in amounts(container, part).items():
            total[name] = add(total[name], amount) if name in total else amount
    for container in pod.spec.init_containers or ():
        for name, amount in amounts(container, part).items():
            if name not in total or compare(amount, total[name]) > 0:
                total[name] = amount
    return total


def amounts(container: Any, part: str) -> Mapping[str, Quantity]:
    return getattr(container.resources or ResourceRequirements(), part) or {}


def with_overhead(pod: Pod, total: Usage) -> Usage:
    return {
        name: add(amount, pod.spec.overhead[name]) if pod.spec.overhead and name in pod.spec.overhead else amount
        for name, amount in total.items()
    }


def service_usage(service: Service) -> Usage:
    usage: Usage = {}
    ports = len(service.spec.ports or ())
    if service.spec.type == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
    if service.spec.type in ("NodePort", "LoadBalancer"):
        usage["services.nodeports"] = Quantity(str(ports))
    return usage


def claim_usage(claim: PersistentVolumeClaim) -> Usage:
    storage = ((claim.spec.resources.requests if claim.spec.resources else None) or {}).get("storage")
    usage: Usage = {"requests.storage": storage} if storage else {}
    if claim.spec.storage_class_name:
        prefix = f"{claim.spec.storage_class_name}.storageclass.storage.k8s.io"
        usage[f"{prefix}/persistentvolumeclaims"] = ONE
        if storage:
            usage[f"{prefix}/requests.storage"] = storage
    return usage


def missing_for(hard: Mapping[str, Quantity], obj: Any) -> str:
    """Which requests and limits a pod has to state because the quota counts them: `limits.cpu for: web`."""
    if not isinstance(obj, Pod):
        return ""
    wanted: dict[str, list[str]] = {}
    for key in sorted(hard):
        part, _, name = key.partition(".")
        if key in COMPUTE:
            part, name = "requests", key
        if part not in ("requests", "limits") or name not in ("cpu", "memory"):
            continue
        for container in (*obj.spec.containers, *(obj.spec.init_containers or ())):
            if name not in (getattr(container.resources or ResourceRequirements(), part) or {}):
                wanted.setdefault(key, []).append(container.name)
    return "; ".join(f"{key} for: {','.join(sorted(names))}" for key, names in wanted.items())


def matches(quota: ResourceQuota, obj: Any) -> bool:
    """Whether an object is in all the quota's scopes; only pods have any."""
    scopes: list[tuple[str, str, tuple[str, ...]]] = [(scope, "Exists", ()) for scope in quota.spec.scopes or ()]
    for term in (quota.spec.scope_selector.match_expressions if quota.spec.scope_selector else None) or ():
        scopes.append((term.scope_name, term.operator, term.values or ()))
    if not scopes:
        return True
    return isinstance(obj, Pod) and all(in_scope(obj, *scope) for scope in scopes)


def in_scope(pod: Pod, scope: str, operator: str, values: tuple[str, ...]) -> bool:
    best_effort = not any(
        container.resources and (container.resources.requests or container.resources.limits)
        for container in (*pod.spec.containers, *(pod.spec.init_containers or ()))
    )
    match scope:
        case "Terminating":
            return pod.spec.active_deadline_seconds is not None
        case "NotTerminating":
            return pod.spec.active_deadline_seconds is None
        case "BestEffort":
            return best_effort
        case "NotBestEffort":
            return not best_effort
        case "CrossNamespacePodAffinity":
            return reaches_other_namespaces(pod)
        case "PriorityClass":
            return matches_class(pod.spec.priority_class_name or "", operator, values)
    return False


def reaches_other_namespaces(pod: Pod) -> bool:
    """Whether an affinity term of the pod names namespaces, or selects them."""
    affinity = pod.spec.affinity
    for rules in (affinity.pod_affinity, affinity.pod_anti_affinity) if affinity else ():
        preferred = rules.preferred_during_scheduling_ignored_during_execution if rules else None
        required = rules.required_during_scheduling_ignored_during_execution if rules else None
        terms = (*(required or ()), *(weighted.pod_affinity_term for weighted in preferred or ()))
        if any(term.namespaces or term.namespace_selector is not None for term in terms):
            return True
    return False


def matches_class(name: str, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "In":
            return name in values
        case "NotIn":
            return name not in values
        case "DoesNotExist":
            return not name
    return bool(name)
