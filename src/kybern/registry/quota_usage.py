"""What an object costs, in the names that quotas use: pods, requests.cpu, services.nodeports, count/deployments.apps."""

from collections.abc import Mapping
from typing import Any, Literal

from kybern.aio.clock import from_rfc3339
from kybern.api.core_v1 import PersistentVolumeClaim, Pod, ResourceQuota, ResourceRequirements, Service
from kybern.api.kind import Kind
from kybern.api.quantity import add
from kybern.api.resource_v1 import ResourceClaim
from kybern.api.shape import Quantity
from kybern.registry.device_usage import Known, Nothing, device_usage
from kybern.registry.podspec.demand import Amounts, total
from kybern.registry.podspec.qos import qos_class

Usage = dict[str, Quantity]
ONE = Quantity("1")
COUNTED_BY_NAME = {  # core kinds that a quota counts by their plural alone
    "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
}  # fmt: skip
COMPUTE = {"cpu", "memory", "ephemeral-storage"}
HUGE_PAGES = "hugepages-"
VOLUME_CLASS = "VolumeAttributesClass"


def usage_of(obj: Any, kind: Kind, now: float = 0.0, known: Known | None = None) -> Usage:
    """`known` tells of classes of devices and of the pods that claims were made for."""
    usage: Usage = {f"count/{kind.group_resource}": ONE}
    if kind.group_resource in COUNTED_BY_NAME:
        usage[kind.plural] = ONE
    if isinstance(obj, Pod):
        usage |= pod_usage(obj, now)
    elif isinstance(obj, Service):
        usage |= service_usage(obj)
    elif isinstance(obj, PersistentVolumeClaim):
        usage |= claim_usage(obj)
    elif isinstance(obj, ResourceClaim):
        usage |= device_usage(obj, known or Known(Nothing()))
    return usage


def is_finished(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_overdue(pod: Pod, now: float) -> bool:
    """It should have been gone for as long again as it was given: its node is lost, and it does not count any more."""
    meta = pod.metadata
    if meta.deletion_timestamp is None or meta.deletion_grace_period_seconds is None:
        return False
    return now > from_rfc3339(meta.deletion_timestamp) + meta.deletion_grace_period_seconds


def pod_usage(pod: Pod, now: float) -> Usage:
    if is_finished(pod) or is_overdue(pod, now):
        return {}
    usage: Usage = {"pods": ONE}
    for name, amount in with_overhead(pod, pod_total(pod, "requests")).items():
        usage[f"requests.{name}"] = amount
        if name in COMPUTE or name.startswith(HUGE_PAGES):
            usage[name] = amount
    for name, amount in with_overhead(pod, pod_total(pod, "limits")).items():
        if name in COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def pod_total(pod: Pod, part: Literal["requests", "limits"]) -> Amounts:
    """What its containers need together, unless the pod says itself what it needs."""
    whole = getattr(pod.spec.resources, part, None) or {}
    return {**total(pod.spec, part), **whole}


def amounts(container: Any, part: str) -> Mapping[str, Quantity]:
    return getattr(container.resources or ResourceRequirements(), part) or {}


def with_overhead(pod: Pod, needed: Amounts) -> Usage:
    overhead = pod.spec.overhead or {}
    return {name: add(amount, overhead[name]) if name in overhead else amount for name, amount in needed.items()}


def service_usage(service: Service) -> Usage:
    usage: Usage = {}
    ports = service.spec.ports or ()
    if service.spec.type == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
        if service.spec.allocate_load_balancer_node_ports is False:
            ports = tuple(port for port in ports if port.node_port)
    if service.spec.type in ("NodePort", "LoadBalancer"):
        usage["services.nodeports"] = Quantity(str(len(ports)))
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
    """Whether an object is in all the quota's scopes; only pods and claims of volumes have any."""
    scopes: list[tuple[str, str, tuple[str, ...]]] = [(scope, "Exists", ()) for scope in quota.spec.scopes or ()]
    for term in (quota.spec.scope_selector.match_expressions if quota.spec.scope_selector else None) or ():
        scopes.append((term.scope_name, term.operator, term.values or ()))
    if not scopes:
        return True
    if isinstance(obj, PersistentVolumeClaim):
        return all(scope == VOLUME_CLASS and claims_class(obj, operator, values) for scope, operator, values in scopes)
    return isinstance(obj, Pod) and all(in_scope(obj, *scope) for scope in scopes)


def claims_class(claim: PersistentVolumeClaim, operator: str, values: tuple[str, ...]) -> bool:
    """By any of the classes that it has, is getting, or wants."""
    modifying = claim.status.modify_volume_status
    names = {
        claim.spec.volume_attributes_class_name,
        claim.status.current_volume_attributes_class_name,
        modifying.target_volume_attributes_class_name if modifying else None,
    } - {None, ""}
    if operator in ("NotIn", "DoesNotExist"):
        return all(matches_class(name or "", operator, values) for name in names or {""})
    return any(matches_class(name or "", operator, values) for name in names)


def in_scope(pod: Pod, scope: str, operator: str, values: tuple[str, ...]) -> bool:
    match scope:
        case "Terminating":
            return pod.spec.active_deadline_seconds is not None
        case "NotTerminating":
            return pod.spec.active_deadline_seconds is None
        case "BestEffort":
            return qos_class(pod.spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod.spec) != "BestEffort"
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
