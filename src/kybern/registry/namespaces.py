"""namespaces: where everything else lives. One goes only when its finalizers say that it is empty."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import Namespace, NamespaceSpec, NamespaceStatus
from kybern.api.invalid import FieldError, invalid_value
from kybern.registry.columns import AGE, NAME
from kybern.registry.metadata import validate_finalizers
from kybern.registry.parts import changed, kind_of, status, whole
from kybern.registry.resource import Column, Resource, Subresource

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"


def default(namespace: Namespace) -> Namespace:
    """A label that says its name, so that selectors can pick it."""
    meta = namespace.metadata
    if not meta.name or (meta.labels or {}).get(NAME_LABEL) == meta.name:
        return namespace
    return changed(namespace, metadata=changed(meta, labels={**(meta.labels or {}), NAME_LABEL: meta.name}))


def on_create(namespace: Namespace) -> Namespace:
    finalizers = namespace.spec.finalizers or ()
    if FINALIZER not in finalizers:
        finalizers = (*finalizers, FINALIZER)
    return default(
        changed(namespace, spec=NamespaceSpec(finalizers=finalizers), status=NamespaceStatus(phase="Active"))
    )


def on_update(namespace: Namespace, old: Namespace) -> Namespace:
    return changed(namespace, spec=old.spec, status=old.status)


def validate(namespace: Namespace) -> Iterator[FieldError]:
    if namespace.spec.finalizers:
        yield from validate_finalizers(namespace.spec.finalizers, "spec.finalizers")


def finalize(stored: Namespace, sent: Namespace) -> Namespace:
    return changed(sent, status=stored.status)


def terminating(namespace: Namespace) -> Namespace:
    return changed(namespace, status=changed(namespace.status, phase="Terminating"))


def is_held(namespace: Namespace) -> bool:
    return bool(namespace.spec.finalizers)


def validate_finalized(new: Namespace, old: Namespace) -> Iterator[FieldError]:
    yield from validate(new)


def validate_phase(new: Namespace, old: Namespace) -> Iterator[FieldError]:
    phase = new.status.phase
    if old.metadata.deletion_timestamp:
        if phase != "Terminating":
            why = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            yield invalid_value("status.Phase", phase, why)
    elif phase != "Active":
        yield invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")


NAMESPACES = Resource(
    kind=kind_of(Namespace),
    short_names=("ns",),
    default=default,
    on_create=on_create,
    on_update=on_update,
    validate=validate,
    validate_name=names.dns1123_label,
    on_delete=terminating,
    held=is_held,
    subresources=(
        Subresource(name="finalize", verbs=("put",), read=whole, write=finalize, validate=validate_finalized),
        status(validate=validate_phase),
    ),
    selectable={"status.phase": lambda namespace: namespace.status.phase or ""},
    columns=(
        NAME,
        Column(
            "Status", lambda namespace, now: namespace.status.phase or "", description="The status of the namespace"
        ),
        AGE,
    ),
)
