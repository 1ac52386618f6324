"""pods: what makes a pod whole, what is wrong with one, how it gets its node and how long it may take to go."""

from collections.abc import Iterator, Mapping

from kybern.api.core_v1 import Binding, Pod, PodCondition, PodSpec, PodStatus
from kybern.api.errors import About, conflict, invalid
from kybern.api.invalid import FieldError, forbidden_field, not_supported, required
from kybern.registry.defaulting import part, parts
from kybern.registry.parts import (
    BINDING,
    EVICTION,
    PROXY_VERBS,
    changed,
    connect,
    keep_status,
    kind_of,
    whole,
)
from kybern.registry.pod_columns import POD_COLUMNS, row_conditions
from kybern.registry.pod_fields import POD_FIELDS, PodPart
from kybern.registry.podspec.annotations import (
    validate_annotations_kept,
    validate_pod_annotations,
    validate_profiles_agree,
)
from kybern.registry.podspec.changes import validate_ephemeral_change, validate_pod_change, validate_resize
from kybern.registry.podspec.defaults import default_container, default_pod_spec
from kybern.registry.podspec.qos import qos_class
from kybern.registry.podspec.spec import validate_pod_spec
from kybern.registry.podspec.status import validate_pod_status
from kybern.registry.podspec.warnings import OF_A_POD, name_warnings, pod_warnings
from kybern.registry.resource import Resource, Subresource

GATED = PodCondition(
    type="PodScheduled",
    status="False",
    reason="SchedulingGated",
    message="Scheduling is blocked due to non-empty scheduling gates",
)
GRACE_SECONDS_DEFAULT = 30
NAMELESS = "<none>"  # what is wrong with the name is said elsewhere


def default(pod: Pod) -> Pod:
    return part(pod, "spec", default_pod_spec)


def on_create(pod: Pod) -> Pod:
    """A new pod is Pending, whatever status its author sent."""
    conditions = (GATED,) if pod.spec.scheduling_gates else None
    return changed(pod, status=PodStatus(phase="Pending", qos_class=qos_class(pod.spec), conditions=conditions))


def validate(pod: Pod) -> Iterator[FieldError]:
    yield from validate_whole(pod)
    if pod.spec.ephemeral_containers:
        yield forbidden_field("spec.ephemeralContainers", "cannot be set on create")
    if pod.spec.scheduling_gates and pod.spec.node_name:
        yield forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    if pod.metadata.annotations:
        yield from validate_profiles_agree(pod.metadata.annotations, pod.spec, "spec")


def validate_whole(pod: Pod) -> Iterator[FieldError]:
    if pod.metadata.annotations:
        yield from validate_pod_annotations(pod.metadata.annotations, pod.spec, "metadata.annotations")
    yield from validate_pod_spec(pod.spec, "spec", pod.metadata.name or NAMELESS)
    if not pod.spec.service_account_name:
        yield from validate_no_tokens(pod.spec)


def validate_no_tokens(spec: PodSpec) -> Iterator[FieldError]:
    """Whoever has no account gets no token."""
    for index, volume in enumerate(spec.volumes or ()):
        for place, source in enumerate((volume.projected.sources or ()) if volume.projected is not None else ()):
            if source.service_account_token is not None:
                here = f"spec.volumes[{index}].projected.sources[{place}].serviceAccountToken"
                yield forbidden_field(here, "must not be specified when serviceAccountName is not set")


def validate_update(pod: Pod, old: Pod) -> Iterator[FieldError]:
    if pod.spec != old.spec:
        yield from validate_whole(pod)
        yield from validate_pod_change(pod.spec, old.spec)
    new_annotations, annotations = pod.metadata.annotations or {}, old.metadata.annotations or {}
    if new_annotations != annotations:
        yield from validate_annotations_kept(new_annotations, annotations, "metadata.annotations")
        if pod.spec == old.spec:
            yield from validate_pod_annotations(new_annotations, pod.spec, "metadata.annotations")


def validate_status(pod: Pod, old: Pod) -> Iterator[FieldError]:
    new_annotations, annotations = pod.metadata.annotations or {}, old.metadata.annotations or {}
    if new_annotations != annotations:
        yield from validate_annotations_kept(new_annotations, annotations, "metadata.annotations")
    yield from validate_pod_status(pod, old)


def warnings(pod: Pod, old: Pod | None) -> Iterator[str]:
    if old is None:  # pods change often, and mostly by programs
        yield from name_warnings(pod.metadata, OF_A_POD)
        yield from pod_warnings(pod.spec, pod.metadata, "")


def counted(pod: Pod) -> PodSpec:
    """Binding a pod does not make it another generation."""
    return pod.spec if not pod.spec.node_name else changed(pod.spec, node_name=None)


def grace_seconds(pod: Pod, asked: int | None) -> int:
    """No time for a pod that no node runs, or that has ended."""
    if not pod.spec.node_name or pod.status.phase in ("Succeeded", "Failed"):
        return 0
    if asked is None:
        asked = pod.spec.termination_grace_period_seconds
    if asked is None:
        asked = GRACE_SECONDS_DEFAULT
    return 1 if asked < 0 else asked


# --- subresources -----------------------------------------------------------------------------------------------------


def write_status(stored: Pod, sent: Pod) -> Pod:
    meta = changed(sent.metadata, owner_references=stored.metadata.owner_references)
    status = sent.status
    if stored.status.qos_class and status.qos_class != stored.status.qos_class:
        status = changed(status, qos_class=stored.status.qos_class)
    return changed(sent, metadata=meta, spec=stored.spec, status=status)


def bind(pod: Pod, binding: Binding) -> Pod:
    """Give a pod its node, once. What the binding is annotated and labelled with goes to the pod."""
    refuse_wrong_target(binding)
    name = pod.metadata.name or ""
    about = About(resource="pods/binding", name=name)
    if binding.metadata.uid and binding.metadata.uid != pod.metadata.uid:
        raise conflict(
            about,
            f"Precondition failed: UID in precondition: {binding.metadata.uid}, UID in object meta: {pod.metadata.uid}",
        )
    if pod.metadata.deletion_timestamp:
        raise conflict(about, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod.spec.node_name:
        raise conflict(about, f'pod {name} is already assigned to node "{pod.spec.node_name}"')
    if pod.spec.scheduling_gates:
        raise conflict(about, f"pod {name} has non-empty .spec.schedulingGates")
    meta = changed(
        pod.metadata,
        annotations=merged(pod.metadata.annotations, binding.metadata.annotations),
        labels=merged(binding.metadata.labels, pod.metadata.labels),
    )
    scheduled = PodCondition(
        type="PodScheduled", status="True", last_transition_time=binding.metadata.creation_timestamp
    )
    others = [c for c in pod.status.conditions or () if c.type != "PodScheduled"]
    status = changed(pod.status, conditions=(*others, scheduled), nominated_node_name=None)
    return changed(pod, metadata=meta, spec=changed(pod.spec, node_name=binding.target.name), status=status)


def refuse_wrong_target(binding: Binding) -> None:
    errors = []
    if binding.target.kind not in (None, "", "Node"):
        errors.append(not_supported("target.kind", binding.target.kind, ("Node", "<empty>")))
    if not binding.target.name:
        errors.append(required("target.name"))
    if errors:
        raise invalid(About(kind="Binding", name=binding.metadata.name or ""), errors)


def merged(one: Mapping[str, str] | None, other: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return {**(one or {}), **(other or {})} if one and other else one or other


def write_ephemeral(stored: Pod, sent: Pod) -> Pod:
    spec = changed(stored.spec, ephemeral_containers=sent.spec.ephemeral_containers)
    return changed(stored, spec=parts(spec, "ephemeral_containers", default_container))


def validate_ephemeral(new: Pod, old: Pod) -> Iterator[FieldError]:
    yield from validate_whole(new)
    yield from validate_ephemeral_change(new, old)


def write_resize(stored: Pod, sent: Pod) -> Pod:
    return changed(stored, spec=sent.spec)


def validate_resized(new: Pod, old: Pod) -> Iterator[FieldError]:
    yield from validate_whole(new)
    yield from validate_resize(new, old)


PODS = Resource(
    kind=kind_of(Pod),
    short_names=("po",),
    categories=("all",),
    default=default,
    default_in="spec",
    on_create=on_create,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    generation=counted,
    grace_seconds=grace_seconds,
    subresources=(
        connect("attach", "PodAttachOptions"),
        Subresource(name="binding", kind=BINDING, verbs=("post",), write=bind),
        Subresource(name="ephemeralcontainers", read=whole, write=write_ephemeral, validate=validate_ephemeral),
        Subresource(name="eviction", kind=EVICTION, verbs=("post",)),
        connect("exec", "PodExecOptions"),
        Subresource(name="log", verbs=("get",)),
        connect("portforward", "PodPortForwardOptions"),
        connect("proxy", "PodProxyOptions", PROXY_VERBS),
        Subresource(name="resize", read=whole, write=write_resize, validate=validate_resized),
        Subresource(name="status", read=whole, write=write_status, validate=validate_status),
    ),
    selectable=POD_FIELDS,
    selectable_part=PodPart,
    columns=POD_COLUMNS,
    row_conditions=row_conditions,
)
