"""podtemplates, replicationcontrollers, controllerrevisions: templates kept, multiplied the old way, and remembered."""

from collections.abc import Iterator
from dataclasses import replace

from kybern.api import selectors
from kybern.api.apps_v1 import ControllerRevision
from kybern.api.core_v1 import PodTemplate, ReplicationController, ReplicationControllerSpec
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.registry.checks import immutable, not_negative
from kybern.registry.columns import AGE, NAME, NONE, container_columns, labels_text
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, scale, spec_of, status
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.spec import validate_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import DO_NOT_MATCH, OF_REPLICAS, REPLICAS_DEFAULT, validate_lasting_template


def validate_pod_template(found: PodTemplate) -> Iterator[FieldError]:
    if found.template is not None:
        yield from validate_template(found.template, "template")


POD_TEMPLATES = Resource(
    kind=kind_of(PodTemplate),
    warnings=template_warnings(lambda found: found.template, "template", named=False),
    default=lambda found: part(found, "template", default_template),
    validate=validate_pod_template,
    generation=lambda found: found.template,
    columns=(
        NAME,
        *(
            replace(column, priority=0)
            for column in container_columns(lambda found: found.template.spec.containers if found.template else ())
        ),
        Column(
            "Pod Labels",
            lambda found, now: labels_text(found.template.metadata.labels if found.template else None),
            description="The labels for the pod template.",
        ),
    ),
)


# --- replicationcontrollers -------------------------------------------------------------------------------------------


def default_controller(controller: ReplicationController) -> ReplicationController:
    template = controller.spec.template
    labels = template.metadata.labels if template is not None else None
    if labels and not controller.metadata.labels:
        controller = changed(controller, metadata=changed(controller.metadata, labels=labels))
    if labels and not controller.spec.selector:
        controller = changed(controller, spec=changed(controller.spec, selector=labels))
    return part(controller, "spec", default_spec)


def default_spec(spec: ReplicationControllerSpec) -> ReplicationControllerSpec:
    return part(filled(spec, replicas=REPLICAS_DEFAULT), "template", default_template)


def validate_controller(controller: ReplicationController) -> Iterator[FieldError]:
    spec = controller.spec
    yield from not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if not spec.selector:
        yield required("spec.selector")
    yield from not_negative("spec.replicas", spec.replicas)
    if spec.template is None:
        yield required("spec.template")
        return
    labels = spec.template.metadata.labels or {}
    if spec.selector and not spec.selector.items() <= labels.items():
        yield invalid_value("spec.template.metadata.labels", labels, DO_NOT_MATCH)
    yield from validate_lasting_template(spec.template, "spec.template", "ReplicationController")


REPLICATION_CONTROLLERS = Resource(
    kind=kind_of(ReplicationController),
    warnings=template_warnings(lambda found: found.spec.template, "spec.template"),
    short_names=("rc",),
    categories=("all",),
    storage_prefix="/registry/controllers",
    default=default_controller,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_controller,
    generation=spec_of,
    subresources=(
        scale(lambda controller: str(selectors.of_labels(controller.spec.selector))),
        status(validate=OF_REPLICAS),
    ),
    selectable={"status.replicas": lambda controller: str(controller.status.replicas)},
    columns=(
        NAME,
        Column(
            "Desired",
            lambda controller, now: controller.spec.replicas or 0,
            type="integer",
            of="core_v1.ReplicationControllerSpec.replicas",
        ),
        Column(
            "Current",
            lambda controller, now: controller.status.replicas,
            type="integer",
            of="core_v1.ReplicationControllerStatus.replicas",
        ),
        Column(
            "Ready",
            lambda controller, now: controller.status.ready_replicas or 0,
            type="integer",
            of="core_v1.ReplicationControllerStatus.readyReplicas",
        ),
        AGE,
        *container_columns(lambda found: found.spec.template.spec.containers if found.spec.template else ()),
        Column(
            "Selector",
            lambda controller, now: labels_text(controller.spec.selector),
            priority=1,
            of="core_v1.ReplicationControllerSpec.selector",
        ),
    ),
)


# --- controllerrevisions ----------------------------------------------------------------------------------------------


def validate_revision(revision: ControllerRevision) -> Iterator[FieldError]:
    yield from not_negative("revision", revision.revision)
    if revision.data is None:
        yield required("data", "data is mandatory")


def validate_revision_update(revision: ControllerRevision, old: ControllerRevision) -> Iterator[FieldError]:
    yield from validate_revision(revision)
    yield from immutable("data", revision.data, old.data)


def controller_cell(revision: ControllerRevision, now: float) -> str:
    for owner in revision.metadata.owner_references or ():
        if owner.controller:
            group = owner.api_version.rpartition("/")[0]
            return f"{owner.kind.lower()}.{group}/{owner.name}" if group else f"{owner.kind.lower()}/{owner.name}"
    return NONE


CONTROLLER_REVISIONS = Resource(
    kind=kind_of(ControllerRevision),
    validate=validate_revision,
    validate_update=validate_revision_update,
    columns=(
        NAME,
        Column("Controller", controller_cell, description="Controller of the object"),
        Column("Revision", lambda revision, now: revision.revision or 0, of="apps_v1.ControllerRevision.revision"),
        AGE,
    ),
)
