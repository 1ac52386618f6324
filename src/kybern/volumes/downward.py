"""The downward API: what a pod may be told about itself, as the text that it sees.

`fieldRef` paths that change while the pod runs (labels, annotations) are read by volumes again and again; the ones that
name addresses exist only once the pod has a sandbox, so they come in through `Facts`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import Container, ObjectFieldSelector, Pod, ResourceFieldSelector
from kybern.api.quantity import milli, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is not in the pod itself."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()
    node_name: str = ""
    allocatable: Mapping[str, str] | None = None
    """The node's: what a container without a limit may use."""


class FieldUnknown(ValueError):
    """A field or resource that the downward API does not offer."""


def field_text(pod: Pod, selector: ObjectFieldSelector, facts: Facts) -> str:
    path = selector.field_path
    key = _subscript(path)
    if key is not None:
        labels = pod.metadata.labels if path.startswith("metadata.labels[") else pod.metadata.annotations
        return (labels or {}).get(key, "")
    texts = {
        "metadata.name": pod.metadata.name or "",
        "metadata.namespace": pod.metadata.namespace or "",
        "metadata.uid": pod.metadata.uid or "",
        "metadata.labels": _listed(pod.metadata.labels),
        "metadata.annotations": _listed(pod.metadata.annotations),
        "spec.nodeName": pod.spec.node_name or facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "",
        "status.hostIP": facts.host_ips[0] if facts.host_ips else "",
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ips[0] if facts.pod_ips else "",
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in texts:
        raise FieldUnknown(f"unsupported fieldPath: {path}")
    return texts[path]


def _subscript(path: str) -> str | None:
    """`metadata.labels['app']` names the key `app`."""
    for start in ("metadata.labels['", "metadata.annotations['"):
        if path.startswith(start) and path.endswith("']"):
            return path[len(start) : -2]
    return None


def _listed(entries: Mapping[str, str] | None) -> str:
    """One `key="value"` a line, sorted, quoted as upstream quotes."""
    return "\n".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in sorted((entries or {}).items()))


def resource_text(pod: Pod, selector: ResourceFieldSelector, facts: Facts, container: str = "") -> str:
    """A container's limit or request in units of the divisor, rounded up."""
    found = _container(pod, selector.container_name or container)
    kind, _, resource = selector.resource.partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise FieldUnknown(f"unsupported container resource : {selector.resource}")
    amount = _amount(found, kind, resource, facts)
    divisor = selector.divisor or "0"
    if resource == "cpu":
        return str(-(-milli(amount) // (milli(divisor) or 1000)))
    return str(-(-value(amount) // (value(divisor) or 1)))


def _container(pod: Pod, name: str) -> Container:
    for container in (*pod.spec.containers, *(pod.spec.init_containers or ())):
        if container.name == name:
            return container
    raise FieldUnknown(f"container {name} not found")


def _amount(container: Container, kind: str, resource: str, facts: Facts) -> str:
    requirements = container.resources
    limits = (requirements.limits if requirements else None) or {}
    requests = (requirements.requests if requirements else None) or {}
    if kind == "requests":
        return requests.get(resource, limits.get(resource, "0"))
    return limits.get(resource) or (facts.allocatable or {}).get(resource, "0")
