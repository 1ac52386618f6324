"""leases: who holds a right, and until when."""

from collections.abc import Iterator

from kybern.api.coordination_v1 import Lease
from kybern.api.invalid import FieldError, invalid_value
from kybern.registry.checks import not_negative
from kybern.registry.columns import AGE, NAME
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource


def validate(lease: Lease) -> Iterator[FieldError]:
    seconds = lease.spec.lease_duration_seconds
    if seconds is not None and seconds <= 0:
        yield invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    yield from not_negative("spec.leaseTransitions", lease.spec.lease_transitions)


LEASES = Resource(
    kind=kind_of(Lease),
    create_on_update=True,
    validate=validate,
    columns=(NAME, Column("Holder", lambda lease, now: lease.spec.holder_identity or ""), AGE),
)
