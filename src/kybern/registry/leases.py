"""leases: who holds a right, and until when."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.coordination_v1 import Lease
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported
from kybern.registry.checks import not_negative
from kybern.registry.columns import AGE, NAME
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource

OLDEST = "OldestEmulationVersion"


def validate(lease: Lease) -> Iterator[FieldError]:
    seconds = lease.spec.lease_duration_seconds
    if seconds is not None and seconds <= 0:
        yield invalid_value("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    yield from not_negative("spec.leaseTransitions", lease.spec.lease_transitions)
    strategy = lease.spec.strategy
    if strategy is not None and "/" not in strategy and strategy != OLDEST:
        yield not_supported("spec.strategy.strategy", strategy, (OLDEST,))
    elif strategy is not None and "/" in strategy:
        for wrong in names.qualified_name(strategy):
            yield invalid_value("spec.strategy.strategy", strategy, wrong)
    if lease.spec.preferred_holder and not strategy:
        yield forbidden_field("spec.preferredHolder", "may only be specified if `strategy` is defined")


LEASES = Resource(
    kind=kind_of(Lease),
    version_needed=True,
    create_on_update=True,
    validate=validate,
    columns=(
        NAME,
        Column(
            "Holder", lambda lease, now: lease.spec.holder_identity or "", of="coordination_v1.LeaseSpec.holderIdentity"
        ),
        AGE,
    ),
)
