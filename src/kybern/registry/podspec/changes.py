"""What may change in a pod that exists: next to nothing, and each subresource a little more.

Each rule puts back into the new spec what it allows to differ; whatever differs then is refused.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import structs

from kybern.api.core_v1 import Container, EphemeralContainer, Pod, PodSpec, ResourceRequirements, Toleration
from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.registry.checks import INT32_MAX, between
from kybern.registry.difference import difference
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


def validate_pod_change(new: PodSpec, old: PodSpec, at: str = "spec") -> Iterator[FieldError]:
    if new == old:
        return
    yield from validate_counts(new, old, at)
    yield from validate_deadline(new.active_deadline_seconds, old.active_deadline_seconds, at)
    if new.tolerations != old.tolerations and not only_added(new.tolerations or (), old.tolerations or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield forbidden_field(f"{at}.tolerations", why)
    yield from validate_gates(new, old, at)
    leftover = with_allowed(new, old)
    if leftover != old and not counts_differ(new, old):
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
            yield forbidden_field(f"{at}.schedulingGates[{index}]", why)


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
    if old.scheduling_gates and (old.node_selector or {}).items() <= (new.node_selector or {}).items():
        changes["node_selector"] = old.node_selector
    return structs.replace(new, **changes)


def with_images(new: tuple[Container, ...], old: tuple[Container, ...]) -> tuple[Container, ...]:
    return tuple(structs.replace(now, image=before.image) for now, before in zip(new, old, strict=False))


# --- subresources -----------------------------------------------------------------------------------------------------


def validate_ephemeral_change(new: Pod, old: Pod) -> Iterator[FieldError]:
    now = {container.name: container for container in new.spec.ephemeral_containers or ()}
    for container in old.spec.ephemeral_containers or ():
        found: EphemeralContainer | None = now.get(container.name)
        if found is None:
            why = f'existing ephemeral containers "{container.name}" may not be removed\n'
            yield forbidden_field("spec.ephemeralContainers", why)
        elif found != container:
            why = f'existing ephemeral containers "{container.name}" may not be changed\n'
            yield forbidden_field("spec.ephemeralContainers", why)


def validate_resize(new: Pod, old: Pod) -> Iterator[FieldError]:
    if counts_differ(new.spec, old.spec):
        yield from validate_counts(new.spec, old.spec, "spec")
        return
    if with_amounts(new.spec, old.spec) != old.spec:
        yield forbidden_field("spec", "only cpu and memory resources are mutable")
    if qos_class(new.spec) != qos_class(old.spec):
        yield invalid_value("spec", qos_class(new.spec), "Pod QOS Class may not change as a result of resizing")


def with_amounts(new: PodSpec, old: PodSpec) -> PodSpec:
    changes: dict[str, Any] = {
        "containers": tuple(
            structs.replace(now, resources=as_before(now.resources, before.resources))
            for now, before in zip(new.containers, old.containers, strict=True)
        )
    }
    if new.init_containers and old.init_containers:
        changes["init_containers"] = tuple(
            structs.replace(now, resources=as_before(now.resources, before.resources))
            for now, before in zip(new.init_containers, old.init_containers, strict=True)
        )
    return structs.replace(new, **changes)


def as_before(new: ResourceRequirements | None, old: ResourceRequirements | None) -> ResourceRequirements | None:
    """The old amounts, if only those of CPU and memory differ."""
    if new is None or old is None:
        return new
    for now, before in ((new.limits or {}, old.limits or {}), (new.requests or {}, old.requests or {})):
        if any(now.get(name) != before.get(name) for name in {*now, *before}.difference(RESIZABLE)):
            return new
    return old if new.claims == old.claims else new
