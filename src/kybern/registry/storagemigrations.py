"""storageversionmigrations: that the objects of a resource be written again, in the version they are stored in now."""

from kybern.api.storagemigration_v1 import StorageVersionMigration
from kybern.registry.columns import NAME
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

STORAGE_VERSION_MIGRATIONS = Resource(
    kind=kind_of(StorageVersionMigration),
    on_create=clear_status,
    on_update=keep_status,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(
        NAME,
        Column(
            "Resource", lambda found, now: f"{found.spec.resource.resource}.{found.spec.resource.group}".rstrip(".")
        ),
    ),
)
