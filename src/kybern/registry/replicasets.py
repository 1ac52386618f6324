"""replicasets: a number of pods from one template."""

from collections.abc import Iterator
from dataclasses import replace

from kybern.api.apps_v1 import ReplicaSet, ReplicaSetSpec
from kybern.api.invalid import FieldError
from kybern.registry.checks import immutable
from kybern.registry.columns import AGE, NAME, TEMPLATE_COLUMNS, selector_column
from kybern.registry.defaulting import filled, part
from kybern.registry.parts import clear_status, keep_status, kind_of, scale, spec_of, status
from kybern.registry.podspec.defaults import default_template
from kybern.registry.podspec.warnings import template_warnings
from kybern.registry.resource import Column, Resource
from kybern.registry.workloads import (
    OF_REPLICAS,
    REPLICAS_DEFAULT,
    TERMINATING,
    selector_of,
    validate_counts,
    validate_lasting_template,
    validate_selected,
)


def default(replicaset: ReplicaSet) -> ReplicaSet:
    return part(replicaset, "spec", default_spec)


def default_spec(spec: ReplicaSetSpec) -> ReplicaSetSpec:
    return part(filled(spec, replicas=REPLICAS_DEFAULT), "template", default_template)


def validate(replicaset: ReplicaSet) -> Iterator[FieldError]:
    spec = replicaset.spec
    counts = (("replicas", "replicas"), ("minReadySeconds", "min_ready_seconds"))
    yield from validate_counts(spec, "spec", *counts)
    yield from validate_selected(spec)
    yield from validate_lasting_template(spec.template, "spec.template", "ReplicaSet")


def validate_update(replicaset: ReplicaSet, old: ReplicaSet) -> Iterator[FieldError]:
    yield from validate(replicaset)
    yield from immutable("spec.selector", replicaset.spec.selector, old.spec.selector)


STATUS_COUNTS = replace(OF_REPLICAS, all=(*OF_REPLICAS.all, TERMINATING))

REPLICASETS = Resource(
    kind=kind_of(ReplicaSet),
    warnings=template_warnings(lambda found: found.spec.template, "spec.template"),
    short_names=("rs",),
    categories=("all",),
    default=default,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    subresources=(scale(selector_of), status(validate=STATUS_COUNTS)),
    columns=(
        NAME,
        Column(
            "Desired",
            lambda replicaset, now: replicaset.spec.replicas or 0,
            type="integer",
            of="apps_v1.ReplicaSetSpec.replicas",
        ),
        Column(
            "Current",
            lambda replicaset, now: replicaset.status.replicas,
            type="integer",
            of="apps_v1.ReplicaSetStatus.replicas",
        ),
        Column(
            "Ready",
            lambda replicaset, now: replicaset.status.ready_replicas or 0,
            type="integer",
            of="apps_v1.ReplicaSetStatus.readyReplicas",
        ),
        AGE,
        *TEMPLATE_COLUMNS,
        selector_column("apps_v1.ReplicaSetSpec.selector"),
    ),
)
