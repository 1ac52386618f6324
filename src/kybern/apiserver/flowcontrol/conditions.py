"""The condition Dangling of a FlowSchema: whether the priority level that it names is missing."""

from msgspec.structs import replace

from kybern.aio.clock import Clock, rfc3339
from kybern.api.flowcontrol_v1 import FlowSchema, FlowSchemaCondition, FlowSchemaStatus, PriorityLevelConfiguration
from kybern.apiserver.bootstrap.create import in_parallel
from kybern.apiserver.request import Objects

DANGLING = "Dangling"


async def tell_dangling(objects: Objects, clock: Clock) -> None:
    levels = {level.metadata.name for level in objects.list(PriorityLevelConfiguration)}
    told = [
        told_schema
        for schema in objects.list(FlowSchema)
        if (told_schema := told_of(schema, schema.spec.priority_level_configuration.name in levels, clock.wall()))
    ]
    await in_parallel(*(objects.update_status(schema) for schema in told))


def told_of(schema: FlowSchema, exists: bool, now: float) -> FlowSchema | None:
    """The schema with its condition; None where that is as it was."""
    name = schema.spec.priority_level_configuration.name
    what = f'This FlowSchema references the PriorityLevelConfiguration object named "{name}"'
    wanted = FlowSchemaCondition(
        type=DANGLING,
        status="False" if exists else "True",
        reason="Found" if exists else "NotFound",
        message=f"{what} and it exists" if exists else f"{what} but there is no such object",
    )
    conditions = schema.status.conditions or ()
    former = next((one for one in conditions if one.type == DANGLING), None)
    if former is not None and replace(former, last_transition_time=None) == wanted:
        return None
    since = former.last_transition_time if former and former.status == wanted.status else rfc3339(now)
    others = tuple(one for one in conditions if one.type != DANGLING)
    return replace(schema, status=FlowSchemaStatus(conditions=(*others, replace(wanted, last_transition_time=since))))
