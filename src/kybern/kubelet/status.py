"""The status of a pod: what the API shows of it, a function of the pod, what was observed, and what is remembered.

A terminal phase is never left, and not entered before everything has stopped. A condition keeps the time of its last transition until its status changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.codec import to_builtins
from kybern.api.core_v1 import ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus, ResourceStatus
from kybern.kubelet import conditions
from kybern.kubelet.container_status import (
    Seen,
    container_statuses,
    ephemeral_container_statuses,
    init_container_statuses,
)
from kybern.kubelet.memory import Memory, Waiting
from kybern.kubelet.observed import Observed
from kybern.kubelet.phase import TERMINAL, phase_of
from kybern.kubelet.plan import needs_sandbox
from kybern.kubelet.qos import qos_class
from kybern.kubelet.restarts import may_restart_all
from kybern.kubelet.rounds import left_over


@dataclass(frozen=True, slots=True)
class Verdict:
    """A pod that the node ended or refused, and why."""

    reason: str
    message: str
    disrupts: bool = False
    """It did nothing wrong, and whoever owns it should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    host_ips: tuple[str, ...] = ()
    memory: Memory = field(default_factory=Memory)
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    verdict: Verdict | None = None
    terminal: bool = False
    resize: tuple[PodCondition, ...] = ()
    devices: Mapping[str, tuple[ResourceStatus, ...] | None] = field(default_factory=dict)
    """By container: how the devices are that it has."""


def pod_status(pod: Pod, observed: Observed, now: float, around: Circumstances) -> PodStatus:
    """`pod.status` holds what the API is known to have."""
    old = pod.status
    before = {s.name: s for group in (old.container_statuses, old.init_container_statuses) for s in group or ()}
    before |= {s.name: s for s in old.ephemeral_container_statuses or ()}
    seen = Seen(pod, observed, around.memory, around.waiting, before, around.terminal)
    apps, init = container_statuses(seen), init_container_statuses(seen)
    apps = tuple(replace(status, allocated_resources_status=around.devices.get(status.name)) for status in apps)
    statuses = {status.name: status for status in (*init, *apps)}
    phase = _phase(pod, statuses, around)
    held = phase in TERMINAL and not around.terminal and old.phase not in TERMINAL
    ips = _pod_ips(pod, observed, around)
    return replace(
        old,
        phase=(old.phase or "Pending") if held else phase,
        conditions=_conditions(pod, observed, statuses, phase, now, (*around.resize, *_disruption(around.verdict))),
        container_statuses=apps or None,
        init_container_statuses=init or None,
        ephemeral_container_statuses=ephemeral_container_statuses(seen) or None,
        host_ip=around.host_ips[0] if around.host_ips else None,
        host_ips=tuple(HostIP(ip=ip) for ip in around.host_ips) or None,
        pod_ip=ips[0] if ips else None,
        pod_ips=tuple(PodIP(ip=ip) for ip in ips) or None,
        qos_class=qos_class(pod),
        resources=pod.spec.resources,
        allocated_resources=pod.spec.resources.requests if pod.spec.resources else None,
        start_time=old.start_time or rfc3339(now),
        observed_generation=pod.metadata.generation,
        reason=around.verdict.reason if around.verdict and not held else old.reason,
        message=around.verdict.message if around.verdict and not held else old.message,
    )


def rejected(pod: Pod, verdict: Verdict, now: float) -> PodStatus:
    """Of a pod that this node will not run."""
    return PodStatus(
        phase="Failed",
        reason=verdict.reason,
        message=f"Pod was rejected: {verdict.message}",
        start_time=pod.status.start_time or rfc3339(now),
        qos_class=qos_class(pod),
        conditions=pod.status.conditions,
        observed_generation=pod.metadata.generation,
    )


def _phase(pod: Pod, statuses: Mapping[str, ContainerStatus], around: Circumstances) -> str:
    old = pod.status.phase or ""
    if old in TERMINAL:
        return old
    return "Failed" if around.verdict else phase_of(pod, statuses, around.terminal)


def _pod_ips(pod: Pod, observed: Observed, around: Circumstances) -> tuple[str, ...]:
    """The sandbox's; the node's on the host's network; the last known once the sandbox is gone."""
    if pod.spec.host_network:
        return around.host_ips if observed.sandbox else ()
    known = tuple(found.ip for found in pod.status.pod_ips or ())
    return observed.ips or known


def _conditions(
    pod: Pod,
    observed: Observed,
    statuses: Mapping[str, ContainerStatus],
    phase: str,
    now: float,
    more: tuple[PodCondition, ...],
) -> tuple[PodCondition, ...]:
    old = {known.type: known for known in pod.status.conditions or ()}
    containers = conditions.containers_ready(pod, statuses, phase)
    fresh = (
        conditions.ready_to_start_containers(not needs_sandbox(pod, observed)),
        conditions.initialized(pod, statuses, phase),
        conditions.ready(pod, containers),
        containers,
        old.get("PodScheduled") or conditions.scheduled(),
        *_restarting(pod, observed),
        *more,
    )
    written = conditions.OWNED | {c.type for c in fresh}
    others = tuple(known for known in old.values() if known.type not in written)
    generation = pod.metadata.generation
    return (*(_timed(c, old.get(c.type), generation, now) for c in fresh), *others)


def _restarting(pod: Pod, observed: Observed) -> tuple[PodCondition, ...]:
    """Only of pods that could."""
    if not may_restart_all(pod):
        return ()
    return (conditions.condition(conditions.RESTARTING, bool(left_over(pod, observed))),)


def _disruption(verdict: Verdict | None) -> tuple[PodCondition, ...]:
    if verdict is None or not verdict.disrupts:
        return ()
    return (conditions.condition("DisruptionTarget", True, "TerminationByKubelet", verdict.message),)


def _timed(fresh: PodCondition, old: PodCondition | None, generation: int | None, now: float) -> PodCondition:
    since = old.last_transition_time if old and old.status == fresh.status else None
    return replace(fresh, last_transition_time=since or rfc3339(now), observed_generation=generation)


def status_patch(uid: str, old: PodStatus, new: PodStatus) -> dict[str, Any] | None:
    """The strategic merge patch from one to the other; None when nothing changed. The uid keeps it from a namesake."""
    if old == new:
        return None
    was, now = to_builtins(old), to_builtins(new)
    changed: dict[str, Any] = {key: now[key] for key in now if now[key] != was.get(key)}
    changed |= {key: None for key in was if key not in now}
    known = {condition["type"]: condition for condition in was.get("conditions", ())}
    if "conditions" in changed:
        listed = changed["conditions"] or ()
        fresh = [c for c in listed if c != known.get(c["type"])]
        over = sorted((known.keys() & conditions.PASSING) - {c["type"] for c in listed})
        changed["conditions"] = [dict.fromkeys(known.get(c["type"], {}).keys() - c.keys()) | c for c in fresh]
        changed["conditions"] += [{"$patch": "delete", "type": kind} for kind in over]
    if not changed or changed == {"conditions": []}:
        return None
    for key in REPLACED_LISTS & changed.keys():
        if was.get(key) and changed[key]:
            changed[key] = [*changed[key], {"$patch": "replace"}]
    return {"metadata": {"uid": uid}, "status": changed}


REPLACED_LISTS = frozenset({"podIPs", "hostIPs"})  # their patch strategy would keep addresses that are gone
