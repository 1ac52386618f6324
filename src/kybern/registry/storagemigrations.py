"""storageversionmigrations: that the objects of a resource be written again, in the version they are stored in now."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.api.storagemigration_v1 import StorageVersionMigration
from kybern.registry.checks import immutable, judged
from kybern.registry.columns import BARE_NAME
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource


def validate(migration: StorageVersionMigration) -> Iterator[FieldError]:
    of = migration.spec.resource
    if not of.resource:
        yield required("spec.resource.resource", "resource is required to be set")
    else:
        wrong = ",".join(names.dns1035_label(of.resource))
        if wrong:
            yield invalid_value("spec.resource.resource", of.resource, wrong)
    yield from judged("spec.resource.group", of.group, names.dns1123_subdomain)


def validate_update(migration: StorageVersionMigration, old: StorageVersionMigration) -> Iterator[FieldError]:
    yield from validate(migration)
    yield from immutable("spec", migration.spec, old.spec)


STORAGE_VERSION_MIGRATIONS = Resource(
    kind=kind_of(StorageVersionMigration),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate,
    validate_update=validate_update,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(
        BARE_NAME,
        Column(
            "Resource",
            lambda found, now: f"{found.spec.resource.resource}.{found.spec.resource.group}".rstrip("."),
            description="Fully qualified resource to migrate",
        ),
    ),
)
