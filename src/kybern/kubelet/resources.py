"""Requests and limits as the kernel takes them: CPU shares, quota and period, bytes of memory, huge pages."""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from kybern.api.core_v1 import Container, EphemeralContainer, Pod, ResourceRequirements
from kybern.api.quantity import from_amount, milli, of_value, value
from kybern.kubelet.qos import oom_score_adjust, qos_class
from kybern.kubelet.restarts import is_sidecar
from kybern.runtime.cri import ContainerState, ContainerStatus, LinuxResources

PERIOD_US = 100_000
QUOTA_US_MIN = 1_000  # the kernel refuses less
SHARES_PER_CPU = 1024
SHARES_MIN, SHARES_MAX = 2, 262_144
UNLIMITED = -1
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


def whole_requests(pod: Pod) -> Mapping[str, str]:
    """What is asked for the pod as a whole; empty where only its containers ask."""
    return (pod.spec.resources.requests if pod.spec.resources else None) or {}


def whole_limits(pod: Pod) -> Mapping[str, str]:
    return (pod.spec.resources.limits if pod.spec.resources else None) or {}


def page_limits(amounts: Mapping[str, int], sizes: Collection[str]) -> dict[str, int]:
    """In bytes, of huge pages of each size that the machine has; none of those that were not asked for."""
    asked = {name.removeprefix(HUGEPAGES): amount for name, amount in amounts.items() if name.startswith(HUGEPAGES)}
    return {**dict.fromkeys(sizes, 0), **asked}


def linux_resources(
    pod: Pod, container: Container | EphemeralContainer, memory_capacity_bytes: int, page_sizes: Collection[str] = ()
) -> LinuxResources:
    """A container without a limit of its own has its pod's."""
    limits = {**whole_limits(pod), **limits_of(container)}
    return LinuxResources(
        cpu_period=PERIOD_US,
        cpu_quota=quota(milli(limits.get("cpu", "0"))),
        cpu_shares=shares(milli(requests_of(container).get("cpu", "0"))),
        memory_limit_bytes=value(limits.get("memory", "0")),
        oom_score_adj=oom_score_adjust(pod, container, memory_capacity_bytes),
        hugepage_limits=page_limits({name: value(amount) for name, amount in limits.items()}, page_sizes),
    )


def resized(pod: Pod, container: Container | EphemeralContainer, status: ContainerStatus) -> LinuxResources | None:
    """The limits that a running container should have instead of its own; None where it has them."""
    wanted, now = linux_resources(pod, container, 0), status.resources
    if now is None or _enforced(wanted) == _enforced(now):
        return None
    return LinuxResources(
        cpu_period=wanted.cpu_period,
        cpu_quota=wanted.cpu_quota or UNLIMITED,
        cpu_shares=wanted.cpu_shares,
        memory_limit_bytes=wanted.memory_limit_bytes or UNLIMITED,
    )


def _enforced(resources: LinuxResources) -> tuple[int, int, int]:
    return max(resources.cpu_quota, 0), resources.cpu_shares, max(resources.memory_limit_bytes, 0)


def restarts_for(container: Container | EphemeralContainer, status: ContainerStatus, wanted: LinuxResources) -> bool:
    """Whether its resize policy wants a new start for one of the changes."""
    now = _enforced(status.resources or LinuxResources())
    quota_, shares_, memory = _enforced(wanted)
    changes = {"cpu": (quota_, shares_) != now[:2], "memory": memory != now[2]}
    policies = container.resize_policy or ()
    return any(p.restart_policy == "RestartContainer" and changes.get(p.resource_name, False) for p in policies)


def enforced_resources(pod: Pod, container: Container, status: ContainerStatus) -> ResourceRequirements | None:
    """What holds for it now, told as what it was given: the same but for what was not carried out yet."""
    now = status.resources
    if now is None or status.state is not ContainerState.RUNNING or resized(pod, container, status) is None:
        return container.resources
    given = container.resources or ResourceRequirements()
    limits = dict(given.limits or {})
    found = {
        "cpu": from_amount(now.cpu_quota * 1_000_000_000 // (now.cpu_period or PERIOD_US)),
        "memory": of_value(now.memory_limit_bytes, "binary"),
    }
    for name, amount in (("cpu", now.cpu_quota), ("memory", now.memory_limit_bytes)):
        limits.pop(name, None)
        if amount > 0:
            limits[name] = found[name]
    requests = dict(given.requests or {})
    if "cpu" in requests:
        requests["cpu"] = from_amount(-(-now.cpu_shares * 1000 // SHARES_PER_CPU) * 1_000_000)
    return replace(given, limits=limits or None, requests=requests or None)


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
    total |= {name: milli(amount) for name, amount in whole_requests(pod).items()}
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


def pod_resources(pod: Pod, pids_max: int = 0, page_sizes: Collection[str] = ()) -> LinuxResources:
    """The limits of a pod's cgroup. Zero is no limit, of pids the one that was set before, and of huge pages none."""
    limits, requests = pod_limits(pod), pod_requests(pod)
    return LinuxResources(
        cpu_period=PERIOD_US,
        cpu_shares=shares(requests.get("cpu", 0)),
        cpu_quota=quota(limits.get("cpu", 0)) or UNLIMITED,
        memory_limit_bytes=limits.get("memory", 0) // 1000 or UNLIMITED,
        pids_limit=pids_max,
        hugepage_limits=page_limits({name: amount // 1000 for name, amount in requests.items()}, page_sizes),
    )


def pod_limits(pod: Pod) -> dict[str, int]:
    """In thousandths, of what the pod as a whole is limited in: by itself, or because each of its containers is."""
    every = (*pod.spec.containers, *(c for c in pod.spec.init_containers or () if is_sidecar(c)))
    total: dict[str, int] = {}
    for container in every:
        _add(total, limits_of(container))
    limits = {name: amount for name, amount in total.items() if all(name in limits_of(c) for c in every)}
    for container in pod.spec.init_containers or ():
        if not is_sidecar(container):
            _raise(limits, {name: milli(q) for name, q in limits_of(container).items() if name in limits})
    limits |= {name: milli(amount) for name, amount in whole_limits(pod).items()}
    _add(limits, {name: q for name, q in (pod.spec.overhead or {}).items() if name in limits})
    return limits
