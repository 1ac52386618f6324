"""What may change in a pod that exists: next to nothing, and each subresource a little more.

Each rule puts back into the new spec what it allows to differ; whatever differs then is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from kybern.api.core_v1 import (
    Affinity,
    Container,
    EphemeralContainer,
    NodeSelectorTerm,
    Pod,
    PodSpec,
    ResourceRequirements,
    Toleration,
)
from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.api.numbers import INT32_MAX
from kybern.registry.checks import between
from kybern.registry.difference import difference
from kybern.registry.podspec.annotations import MIRROR
from kybern.registry.podspec.qos import qos_class

UPDATABLE = ",".join(
    (
        "`spec.containers[*].image`",
        "`spec.initContainers[*].image`",
        "`spec.activeDeadlineSeconds`",
        "`spec.tolerations` (only additions to existing tolerations)",
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )
)
RESIZABLE = ("cpu", "memory")
ONLY_SIDECAR_AMOUNTS = "only cpu and memory resources for sidecar containers are mutable"
NO_INIT_AMOUNTS = "resources for non-sidecar init containers are immutable"


def validate_pod_change(new: PodSpec, old: PodSpec, at: str = "spec") -> Iterator[FieldError]:
    if new == old:
        return
    if counts_differ(new, old):
        yield from validate_counts(new, old, at)
        return
    deadline = list(validate_deadline(new.active_deadline_seconds, old.active_deadline_seconds, at))
    yield from deadline
    if deadline and new.active_deadline_seconds is not None:
        return
    if new.tolerations != old.tolerations and not only_added(new.tolerations or (), old.tolerations or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_field(f"{at}.tolerations", why)
    yield from validate_gates(new, old, at)
    if old.scheduling_gates:
        yield from validate_gated(new, old, at)
    leftover = with_allowed(new, old)
    if leftover != old:
        shown = difference("core.PodSpec", old, leftover)
        yield forbidden_field(at, f"pod updates may not change fields other than {UPDATABLE}\n{shown}")


def counts_differ(new: PodSpec, old: PodSpec) -> bool:
    return len(new.containers) != len(old.containers) or len(new.init_containers or ()) != len(
        old.init_containers or ()
    )


def validate_counts(new: PodSpec, old: PodSpec, at: str) -> Iterator[FieldError]:
    for field, now, before in (
        ("containers", new.containers, old.containers),
        ("initContainers", new.init_containers or (), old.init_containers or ()),
    ):
        if len(now) != len(before):
            yield forbidden_field(f"{at}.{field}", "pod updates may not add or remove containers")


def validate_deadline(new: int | None, old: int | None, at: str) -> Iterator[FieldError]:
    here = f"{at}.activeDeadlineSeconds"
    if new == old:
        return
    if new is None:
        yield invalid_value(here, new, "must not update from a positive integer to nil value")
    elif not 0 <= new <= INT32_MAX:
        yield invalid_value(here, new, between(0, INT32_MAX))
    elif old is not None and new > old:
        yield invalid_value(here, new, "must be less than or equal to previous value")


def only_added(new: tuple[Toleration, ...], old: tuple[Toleration, ...]) -> bool:
    """Every old toleration is still there; only how long it holds may differ."""

    def lasting(toleration: Toleration) -> Toleration:
        return structs.replace(toleration, toleration_seconds=None)

    kept = [lasting(toleration) for toleration in new]
    return all(lasting(toleration) in kept for toleration in old)


def validate_gates(new: PodSpec, old: PodSpec, at: str) -> Iterator[FieldError]:
    known = {gate.name for gate in old.scheduling_gates or ()}
    for index, gate in enumerate(new.scheduling_gates or ()):
        if gate.name not in known:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield forbidden_field(f"{at}.schedulingGates[{index}].name", why)


def validate_gated(new: PodSpec, old: PodSpec, at: str) -> Iterator[FieldError]:
    """Where a pod may run can be narrowed as long as nothing has looked for a place for it."""
    if not (old.node_selector or {}).items() <= (new.node_selector or {}).items():
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        yield invalid_value(f"{at}.nodeSelector", new.node_selector, why)
    before, now = required_terms(old), required_terms(new)
    here = f"{at}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if before and len(before) != len(now):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        yield invalid_value(here, now, why)
        return
    for index, (term, wanted) in enumerate(zip(before, now, strict=False)):
        if not only_narrowed(term, wanted):
            why = "only additions are allowed (no mutations or deletions)"
            yield invalid_value(f"{here}[{index}]", wanted, why)


def required_terms(spec: PodSpec) -> tuple[NodeSelectorTerm, ...]:
    node = spec.affinity.node_affinity if spec.affinity is not None else None
    selector = node.required_during_scheduling_ignored_during_execution if node is not None else None
    return selector.node_selector_terms if selector is not None else ()


def only_narrowed(old: NodeSelectorTerm, new: NodeSelectorTerm) -> bool:
    """A term that matches nothing must not begin to match."""
    pairs = (
        (old.match_expressions or (), new.match_expressions or ()),
        (old.match_fields or (), new.match_fields or ()),
    )
    if not any(before for before, _ in pairs):
        return not any(now for _, now in pairs)
    return all(now[: len(before)] == before for before, now in pairs)


def with_allowed(new: PodSpec, old: PodSpec) -> PodSpec:
    changes: dict[str, Any] = {
        "containers": with_images(new.containers, old.containers),
        "active_deadline_seconds": old.active_deadline_seconds,
        "tolerations": old.tolerations,
        "scheduling_gates": old.scheduling_gates,
    }
    if new.init_containers and old.init_containers:
        changes["init_containers"] = with_images(new.init_containers, old.init_containers)
    if (old.termination_grace_period_seconds or 0) < 0 and new.termination_grace_period_seconds == 1:
        changes["termination_grace_period_seconds"] = old.termination_grace_period_seconds
    if old.scheduling_gates:
        changes["node_selector"] = old.node_selector
        changes["affinity"] = with_node_affinity(new.affinity, old.affinity)
    return structs.replace(new, **changes)


def with_node_affinity(new: Affinity | None, old: Affinity | None) -> Affinity | None:
    """The new affinity with the old one's rules about nodes."""
    restored = structs.replace(new or Affinity(), node_affinity=old.node_affinity if old is not None else None)
    return None if old is None and restored == Affinity() else restored


def with_images(new: tuple[Container, ...], old: tuple[Container, ...]) -> tuple[Container, ...]:
    return tuple(structs.replace(now, image=before.image) for now, before in zip(new, old, strict=False))


# --- subresources -----------------------------------------------------------------------------------------------------


def validate_ephemeral_change(new: Pod, old: Pod) -> Iterator[FieldError]:
    if is_mirror(old):
        yield forbidden_field("", "static pods do not support ephemeral containers")
        return
    now = {container.name: container for container in new.spec.ephemeral_containers or ()}
    for container in old.spec.ephemeral_containers or ():
        found: EphemeralContainer | None = now.get(container.name)
        if found is None:
            why = f'existing ephemeral containers "{container.name}" may not be removed\n'
            yield forbidden_field("spec.ephemeralContainers", why)
        elif found != container:
            shown = difference("core.EphemeralContainer", container, found)
            why = f'existing ephemeral containers "{container.name}" may not be changed\n{shown}'
            yield forbidden_field("spec.ephemeralContainers", why)


def is_mirror(pod: Pod) -> bool:
    return MIRROR in (pod.metadata.annotations or {})


def validate_resize(new: Pod, old: Pod) -> Iterator[FieldError]:
    if is_mirror(old):
        yield forbidden_field("", "static pods cannot be resized")
        return
    if old.spec.os is not None and old.spec.os.name == "windows":
        yield forbidden_field("", "windows pods cannot be resized")
        return
    if counts_differ(new.spec, old.spec):
        yield from validate_counts(new.spec, old.spec, "spec")
        return
    if qos_class(new.spec) != (old.status.qos_class or qos_class(old.spec)):
        yield invalid_value("spec", new.status.qos_class, "Pod QOS Class may not change as a result of resizing")
    running = [status for status in old.status.container_statuses or () if status.state and status.state.running]
    if running and running[0].resources is None:
        yield forbidden_field("spec", "Pod running on node without support for resize")
    yield from validate_only_amounts(new.spec, old.spec)


def validate_only_amounts(new: PodSpec, old: PodSpec) -> Iterator[FieldError]:
    """CPU and memory of containers that stay may change, and none of it be taken back."""
    wrong = False
    for error in (
        *validate_none_removed(new.init_containers or (), old.init_containers or (), "spec.initContainers"),
        *validate_none_removed(new.containers, old.containers, "spec.containers"),
    ):
        wrong = True
        yield error
    for container, before in zip(new.init_containers or (), old.init_containers or (), strict=True):
        sidecar = container.restart_policy == "Always"
        if (with_old_amounts(container, before) if sidecar else container) != before:
            wrong = True
            yield forbidden_field("spec", ONLY_SIDECAR_AMOUNTS if sidecar else NO_INIT_AMOUNTS)
    if not wrong and with_amounts(new, old) != old:
        yield forbidden_field("spec", "only cpu and memory resources are mutable")


def validate_none_removed(new: tuple[Container, ...], old: tuple[Container, ...], at: str) -> Iterator[FieldError]:
    for index, (now, before) in enumerate(zip(new, old, strict=True)):
        if at.endswith("initContainers") and before.restart_policy != "Always":
            continue
        for field in ("requests", "limits"):
            kept: Mapping[str, str] = getattr(now.resources, field, None) or {}
            if not kept.keys() >= (getattr(before.resources, field, None) or {}).keys():
                yield forbidden_field(f"{at}[{index}].resources.{field}", f"resource {field} cannot be removed")


def with_amounts(new: PodSpec, old: PodSpec) -> PodSpec:
    changes: dict[str, Any] = {"containers": tuple(map(with_old_amounts, new.containers, old.containers))}
    if new.init_containers and old.init_containers:
        changes["init_containers"] = tuple(map(with_old_amounts, new.init_containers, old.init_containers))
    return structs.replace(new, **changes)


def with_old_amounts(new: Container, old: Container) -> Container:
    return structs.replace(new, resources=as_before(new.resources, old.resources))


def as_before(new: ResourceRequirements | None, old: ResourceRequirements | None) -> ResourceRequirements | None:
    """The old amounts, if only those of CPU and memory differ."""
    if new is None or old is None:
        return new
    for now, before in ((new.limits or {}, old.limits or {}), (new.requests or {}, old.requests or {})):
        if any(now.get(name) != before.get(name) for name in {*now, *before}.difference(RESIZABLE)):
            return new
    return old if new.claims == old.claims else new
