"""storage version migration: every object of a resource is written once more, so that it is stored as it is stored today.

After a definition has changed its storage version, old objects stay as they were until somebody writes them. A migration
does, with changes that change nothing; an object that somebody else writes or deletes meanwhile needs nothing more. One that
is refused as it is ends the migration. A kind that is not served may come within a minute.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.codec import decode
from kybern.api.errors import (
    ApiError,
    Conflict,
    InternalError,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from kybern.api.kind import Kind
from kybern.api.meta_v1 import Condition, ObjectMeta
from kybern.api.storagemigration_v1 import StorageVersionMigration
from kybern.client import Client, View
from kybern.client.client import METADATA_LIST, Meta
from kybern.client.discovery import discover
from kybern.reconcile import After, Context, Controller, at_once

FINAL = ("Succeeded", "Failed")
REASON = "StorageVersionMigrationInProgress"
MISSING_SECONDS = 60.0
RETRY_SECONDS = 5.0
PASSING = (InternalError, ServiceUnavailable, Timeout, TooManyRequests)


async def reconcile(migration: StorageVersionMigration, view: View, client: Client, context: Context) -> After | None:
    if migration.metadata.deletion_timestamp is not None or any(has(migration, type) for type in FINAL):
        return None
    wanted = migration.spec.resource
    kinds, _ = await discover(client)
    kind = next((kind for kind in kinds if (kind.group, kind.plural) == (wanted.group, wanted.resource)), None)
    if kind is None:
        if context.now - from_rfc3339(migration.metadata.creation_timestamp or "") < MISSING_SECONDS:
            return After(RETRY_SECONDS)
        message = "resource does not exist in discovery, cannot migrate"
        await end(migration, "Failed", "NonExistentResource", message, client, context)
        return None
    page = await client.page(kind, "", "", METADATA_LIST)
    if not has(migration, "Running"):
        migration = replace(
            migration, status=replace(migration.status, resource_version=page.metadata.resource_version)
        )
        migration = await tell(migration, "Running", "True", REASON, "", client, context)
    objects = [decode(Meta, item).metadata for item in page.items or ()]
    error = await write_again(kind, objects, client)
    if isinstance(error, ApiError) and not isinstance(error, PASSING):
        message = f"migration encountered unhandled error: {error.message}"
        await end(migration, "Failed", "StorageVersionMigrationFailed", message, client, context)
        return None
    if error is not None:
        raise error
    await end(migration, "Succeeded", "StorageVersionMigrationSucceeded", "", client, context)
    return None


async def write_again(kind: Kind, objects: Iterable[ObjectMeta], client: Client) -> Exception | None:
    async def touch(meta: ObjectMeta) -> None:
        patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version}}
        try:
            await client.patch_kind(kind, meta.name or "", meta.namespace or "", patch)
        except (NotFound, Conflict):
            pass  # gone, or written by somebody else

    _, error = await at_once(list(objects), touch)
    return error


def has(migration: StorageVersionMigration, type: str) -> bool:
    return any(found.type == type and found.status == "True" for found in migration.status.conditions or ())


async def end(
    migration: StorageVersionMigration, type: str, reason: str, message: str, client: Client, context: Context
) -> None:
    if has(migration, "Running"):
        migration = with_condition(migration, "Running", "False", REASON, "", context)
    await tell(migration, type, "True", reason, message, client, context)


async def tell(
    migration: StorageVersionMigration, type: str, status: str, reason: str, message: str, client: Client,
    context: Context,
) -> StorageVersionMigration:  # fmt: skip
    return await client.update_status(with_condition(migration, type, status, reason, message, context))


def with_condition(
    migration: StorageVersionMigration, type: str, status: str, reason: str, message: str, context: Context
) -> StorageVersionMigration:
    conditions = {found.type: found for found in migration.status.conditions or ()}
    conditions[type] = Condition(
        type=type, status=status, reason=reason, message=message, last_transition_time=rfc3339(context.now)
    )
    return replace(migration, status=replace(migration.status, conditions=tuple(conditions.values())))


STORAGEVERSIONMIGRATION = Controller(
    name="storage-version-migrator",
    reconciles=StorageVersionMigration,
    concerns=lambda migration: not any(has(migration, type) for type in FINAL),
    workers=1,
    by=reconcile,
)
