"""Whom an eviction meets first: who takes more than was asked for, then the least important, then the largest.

And what is said of it. Critical pods are never evicted: they are what the node is there for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kybern.api.core_v1 import Pod
from kybern.api.quantity import milli, of_value, value
from kybern.kubelet.eviction.thresholds import Met
from kybern.kubelet.manifests import is_mirror, is_static
from kybern.kubelet.qos import CRITICAL_PRIORITY
from kybern.kubelet.resources import pod_requests, requests_of

REASON = "Evicted"


@dataclass(frozen=True, slots=True)
class PodUsage:
    """What a pod takes, by the resource's name in messages: `memory`, `ephemeral-storage`, `inodes`, `pids`."""

    pod: Pod
    whole: Mapping[str, int]
    containers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def is_critical(pod: Pod) -> bool:
    return is_static(pod) or is_mirror(pod) or (pod.spec.priority or 0) >= CRITICAL_PRIORITY


def ranked(usages: Iterable[PodUsage], resource: str) -> list[PodUsage]:
    """The first goes first."""

    def key(usage: PodUsage) -> tuple[bool, int, int]:
        excess = usage.whole.get(resource, 0) - pod_requests(usage.pod).get(resource, 0) // 1000
        return (resource != "pids" and excess <= 0, usage.pod.spec.priority or 0, -excess)

    return sorted((usage for usage in usages if not is_critical(usage.pod)), key=key)


def eviction_message(met: Met, usage: PodUsage) -> str:
    resource = met.resource
    text = f"The node was low on resource: {resource}. "
    text += f"Threshold quantity: {_amount(resource, met.quantity)}, "
    text += f"available: {_amount(resource, met.observed.available)}. "
    for container in usage.pod.spec.containers:
        used = usage.containers.get(container.name, {}).get(resource, 0)
        asked = requests_of(container).get(resource, "0")
        if resource in ("memory", "ephemeral-storage") and used > value(asked):
            text += f"Container {container.name} was using {_amount(resource, used)}, request is {asked}, "
            text += f"has larger consumption of {resource}. "
    return text


def _amount(resource: str, amount: int) -> str:
    return str(of_value(amount, "decimal" if resource in ("pids", "inodes") else "binary"))


def over_limits(usage: PodUsage, empty_dirs: Mapping[str, int]) -> str:
    """Why a pod goes whatever the node has left: it took more of the disk than it may. Empty where it did not."""
    pod = usage.pod
    for volume in pod.spec.volumes or ():
        limit = volume.empty_dir.size_limit if volume.empty_dir else None
        if limit and value(limit) and empty_dirs.get(volume.name, 0) > value(limit):
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
    whole = 0
    limits = [(c, (c.resources.limits if c.resources else None) or {}) for c in pod.spec.containers]
    for container, limit_of in limits:
        limit = limit_of.get("ephemeral-storage")
        whole += milli(limit or "0") // 1000
        used = usage.containers.get(container.name, {}).get("ephemeral-storage", 0)
        if limit and used > value(limit):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{limit}". '
    if whole and usage.whole.get("ephemeral-storage", 0) > whole:
        total = of_value(whole, "binary")
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
    return ""


def is_limited(pod: Pod) -> bool:
    """Whether `over_limits` could ever say something of it."""
    containers = (c.resources.limits for c in pod.spec.containers if c.resources)
    volumes = (volume.empty_dir for volume in pod.spec.volumes or ())
    return any("ephemeral-storage" in (limits or {}) for limits in containers) or any(
        source is not None and source.size_limit for source in volumes
    )
