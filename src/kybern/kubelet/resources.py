"""Requests and limits as the kernel takes them: CPU shares, quota and period, bytes of memory, huge pages."""

from collections.abc import Mapping

from kybern.api.core_v1 import Container, EphemeralContainer, Pod
from kybern.api.quantity import milli, value
from kybern.kubelet.qos import oom_score_adjust, qos_class
from kybern.kubelet.restarts import is_sidecar
from kybern.runtime.cri import LinuxResources

PERIOD_US = 100_000
QUOTA_US_MIN = 1_000  # the kernel refuses less
SHARES_PER_CPU = 1024
SHARES_MIN, SHARES_MAX = 2, 262_144
HUGEPAGES = "hugepages-"


def shares(milli_cpu: int) -> int:
    if milli_cpu == 0:
        return SHARES_MIN
    return min(max(milli_cpu * SHARES_PER_CPU // 1000, SHARES_MIN), SHARES_MAX)


def quota(milli_cpu: int) -> int:
    """0 where there is no limit."""
    return max(milli_cpu * PERIOD_US // 1000, QUOTA_US_MIN) if milli_cpu else 0


def requests_of(container: Container | EphemeralContainer) -> Mapping[str, str]:
    """With the limit where no request is given."""
    found = container.resources
    return {**((found.limits if found else None) or {}), **((found.requests if found else None) or {})}


def limits_of(container: Container | EphemeralContainer) -> Mapping[str, str]:
    return (container.resources.limits if container.resources else None) or {}


def linux_resources(pod: Pod, container: Container | EphemeralContainer, memory_capacity_bytes: int) -> LinuxResources:
    limits = limits_of(container)
    return LinuxResources(
        cpu_period=PERIOD_US,
        cpu_quota=quota(milli(limits.get("cpu", "0"))),
        cpu_shares=shares(milli(requests_of(container).get("cpu", "0"))),
        memory_limit_bytes=value(limits.get("memory", "0")),
        oom_score_adj=oom_score_adjust(pod, container, memory_capacity_bytes),
        hugepage_limits={
            name.removeprefix(HUGEPAGES): value(q) for name, q in limits.items() if name.startswith(HUGEPAGES)
        },
    )


def pod_requests(pod: Pod) -> dict[str, int]:
    """What the node sets aside for a pod, in thousandths: containers together, or an init container that needs more."""
    total: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.containers:
        _add(total, requests_of(container))
    for container in pod.spec.init_containers or ():
        if is_sidecar(container):
            _add(total, requests_of(container))
            _add(sidecars, requests_of(container))
            _raise(peak, sidecars)
        else:
            alone = dict(sidecars)
            _add(alone, requests_of(container))
            _raise(peak, alone)
    _raise(total, peak)
    _add(total, pod.spec.overhead or {})
    return total


def _add(total: dict[str, int], amounts: Mapping[str, str]) -> None:
    for name, amount in amounts.items():
        total[name] = total.get(name, 0) + milli(amount)


def _raise(total: dict[str, int], amounts: Mapping[str, int]) -> None:
    for name, amount in amounts.items():
        total[name] = max(total.get(name, 0), amount)


def pod_cgroup(pod: Pod, root: str) -> str:
    """`/kybern/pods/burstable/pod<uid>`; Guaranteed pods have no level of their own."""
    level = {"Burstable": "/burstable", "BestEffort": "/besteffort"}.get(qos_class(pod), "")
    return f"{root}{level}/pod{pod.metadata.uid}"


def pod_resources(pod: Pod, pids_max: int = 0) -> LinuxResources:
    """The limits of a pod's cgroup: only where every container is limited is the pod."""
    requests = pod_requests(pod)
    every = (*pod.spec.containers, *(c for c in pod.spec.init_containers or () if is_sidecar(c)))
    limits: dict[str, int] = {}
    for container in every:
        _add(limits, limits_of(container))
    return LinuxResources(
        cpu_period=PERIOD_US,
        cpu_shares=shares(requests.get("cpu", 0)),
        cpu_quota=quota(limits.get("cpu", 0)) if all("cpu" in limits_of(c) for c in every) else 0,
        memory_limit_bytes=limits.get("memory", 0) // 1000 if all("memory" in limits_of(c) for c in every) else 0,
        pids_limit=pids_max,
    )
