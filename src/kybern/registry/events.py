"""events: what happened to an object, told twice: as core/v1 and as events.k8s.io/v1. Stored once, as core/v1."""

from collections.abc import Iterator
from dataclasses import replace

from kybern.api import core_v1, events_v1, names
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.registry.checks import immutable
from kybern.registry.columns import age
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource

NOTE_BYTES_MAX = 1024
REASON_BYTES_MAX = 128
NOBODY = core_v1.ObjectReference()


def to_core(event: events_v1.Event) -> core_v1.Event:
    series = event.series
    return core_v1.Event(
        metadata=event.metadata,
        action=event.action,
        count=event.deprecated_count,
        event_time=event.event_time,
        first_timestamp=event.deprecated_first_timestamp,
        last_timestamp=event.deprecated_last_timestamp,
        involved_object=event.regarding or NOBODY,
        message=event.note,
        reason=event.reason,
        related=event.related,
        reporting_component=event.reporting_controller,
        reporting_instance=event.reporting_instance,
        series=core_v1.EventSeries(count=series.count, last_observed_time=series.last_observed_time)
        if series
        else None,
        source=event.deprecated_source,
        type=event.type,
    )


def from_core(event: core_v1.Event) -> events_v1.Event:
    series = event.series
    return events_v1.Event(
        metadata=event.metadata,
        action=event.action,
        deprecated_count=event.count,
        event_time=event.event_time,
        deprecated_first_timestamp=event.first_timestamp,
        deprecated_last_timestamp=event.last_timestamp,
        regarding=event.involved_object if event.involved_object != NOBODY else None,
        note=event.message,
        reason=event.reason,
        related=event.related,
        reporting_controller=event.reporting_component,
        reporting_instance=event.reporting_instance,
        series=events_v1.EventSeries(count=series.count or 0, last_observed_time=series.last_observed_time)
        if series
        else None,
        deprecated_source=event.source,
        type=event.type,
    )


SETTLED = (
    ("involvedObject", "involved_object"), ("reason", "reason"), ("message", "message"), ("source", "source"),
    ("firstTimestamp", "first_timestamp"), ("lastTimestamp", "last_timestamp"), ("count", "count"), ("type", "type"),
    ("eventTime", "event_time"), ("action", "action"), ("related", "related"), ("reportingController", "reporting_component"),
    ("reportingInstance", "reporting_instance"),
)  # fmt: skip
"""The fields, as upstream names them, and ours."""


def validate_core(event: core_v1.Event) -> Iterator[FieldError]:
    """One that says when it happened, to the microsecond, is of the newer kind and says more."""
    about, namespace = event.involved_object.namespace or "", event.metadata.namespace or ""
    if not event.event_time:
        if namespace != about and (about or namespace not in ("", "default")):
            yield invalid_value("involvedObject.namespace", about, "does not match event.namespace")
        return
    if not about and namespace not in ("default", "kube-system"):
        yield invalid_value("involvedObject.namespace", about, "does not match event.namespace")
    controller = event.reporting_component or ""
    if not controller:
        yield required("reportingController")
    for wrong in names.qualified_name(controller):
        yield invalid_value("reportingController", controller, wrong)
    for field, value, most in (
        ("reportingInstance", event.reporting_instance, REASON_BYTES_MAX),
        ("action", event.action, REASON_BYTES_MAX),
        ("reason", event.reason, REASON_BYTES_MAX),
        ("message", event.message or " ", NOTE_BYTES_MAX),
    ):
        if not value:
            yield required(field)
        elif len(value.encode(errors="replace")) > most:
            yield invalid_value(field, "", f"can have at most {most} characters")


def validate_new(event: events_v1.Event) -> Iterator[FieldError]:
    """What the newer API asks for besides: nothing of what only the older one had."""
    yield from validate_core(to_core(event))
    yield from validate_series(event)
    if not event.event_time:
        yield required("eventTime")
    if event.type not in ("Normal", "Warning"):
        yield invalid_value("type", "", f"has invalid value: {event.type or ''}")
    source = event.deprecated_source
    for field, value in (
        ("firstTimestamp", event.deprecated_first_timestamp), ("lastTimestamp", event.deprecated_last_timestamp),
        ("count", event.deprecated_count), ("source", source is not None and (source.component or source.host)),
    ):  # fmt: skip
        if value:
            yield invalid_value(field, "", "needs to be unset")


def validate_series(event: events_v1.Event) -> Iterator[FieldError]:
    if event.series is None:
        return
    if event.series.count < 2:
        yield invalid_value("series.count", "", "should be at least 2")
    if not event.series.last_observed_time:
        yield required("series.lastObservedTime")


def validate_new_update(event: events_v1.Event, old: events_v1.Event) -> Iterator[FieldError]:
    """What an event of the newer API tells is settled; only how often it came is not."""
    new, before = to_core(event), to_core(old)
    yield from validate_core(new)
    if event.series != old.series:
        yield from validate_series(event)
    for field, name in SETTLED:
        yield from immutable(field, getattr(new, name), getattr(before, name))


# --- columns ----------------------------------------------------------------------------------------------------------


def first_seen(event: core_v1.Event, now: float) -> str:
    return age(event.first_timestamp or event.event_time, now)


def last_seen(event: core_v1.Event, now: float) -> str:
    if event.series is not None:
        return age(event.series.last_observed_time, now)
    return age(event.last_timestamp or event.first_timestamp or event.event_time, now)


def object_cell(event: core_v1.Event, now: float) -> str:
    about = event.involved_object
    kind = (about.kind or "").lower()
    return f"{kind}/{about.name}" if about.name else kind


def source_cell(event: core_v1.Event, now: float) -> str:
    component = event.source.component if event.source is not None else None
    host = event.source.host if event.source is not None else None
    named, instance = component or event.reporting_component or "", host or event.reporting_instance or ""
    return f"{named}, {instance}" if instance else named


def count_cell(event: core_v1.Event, now: float) -> int:
    if event.series is not None:
        return event.series.count or 0
    return event.count or 1


CORE_COLUMNS = (
    Column("Last Seen", last_seen, of="core_v1.Event.lastTimestamp"),
    Column("Type", lambda event, now: event.type or "", of="core_v1.Event.type"),
    Column("Reason", lambda event, now: event.reason or "", of="core_v1.Event.reason"),
    Column("Object", object_cell, of="core_v1.Event.involvedObject"),
    Column(
        "Subobject",
        lambda event, now: event.involved_object.field_path or "",
        priority=1,
        of="core_v1.ObjectReference.fieldPath",
    ),
    Column("Source", source_cell, priority=1, of="core_v1.Event.source"),
    Column("Message", lambda event, now: (event.message or "").strip(), of="core_v1.Event.message"),
    Column("First Seen", first_seen, priority=1, of="core_v1.Event.firstTimestamp"),
    Column("Count", count_cell, priority=1, of="core_v1.Event.count"),
    Column(
        "Name", lambda event, now: event.metadata.name or "", format="name", priority=1, of="meta_v1.ObjectMeta.name"
    ),
)


def of_core(column: Column) -> Column:
    """The same column over the new form."""
    cell = column.cell
    return replace(column, cell=lambda event, now: cell(to_core(event), now))


EVENTS = Resource(
    kind=kind_of(core_v1.Event),
    short_names=("ev",),
    create_on_update=True,
    validate=validate_core,
    selectable={
        "involvedObject.kind": lambda event: event.involved_object.kind or "",
        "involvedObject.namespace": lambda event: event.involved_object.namespace or "",
        "involvedObject.name": lambda event: event.involved_object.name or "",
        "involvedObject.uid": lambda event: event.involved_object.uid or "",
        "involvedObject.apiVersion": lambda event: event.involved_object.api_version or "",
        "involvedObject.resourceVersion": lambda event: event.involved_object.resource_version or "",
        "involvedObject.fieldPath": lambda event: event.involved_object.field_path or "",
        "reason": lambda event: event.reason or "",
        "reportingComponent": lambda event: event.reporting_component or "",
        "source": lambda event: (event.source.component if event.source else None) or event.reporting_component or "",
        "type": lambda event: event.type or "",
    },
    columns=CORE_COLUMNS,
)


def regarding(event: events_v1.Event) -> core_v1.ObjectReference:
    return event.regarding or NOBODY


NEW_EVENTS = Resource(
    kind=kind_of(events_v1.Event),
    short_names=("ev",),
    storage_prefix="/registry/events",
    create_on_update=True,
    to_storage=to_core,
    from_storage=from_core,
    validate=validate_new,
    validate_update=validate_new_update,
    selectable={
        "regarding.kind": lambda event: regarding(event).kind or "",
        "regarding.namespace": lambda event: regarding(event).namespace or "",
        "regarding.name": lambda event: regarding(event).name or "",
        "regarding.uid": lambda event: regarding(event).uid or "",
        "regarding.apiVersion": lambda event: regarding(event).api_version or "",
        "regarding.resourceVersion": lambda event: regarding(event).resource_version or "",
        "regarding.fieldPath": lambda event: regarding(event).field_path or "",
        "reason": lambda event: event.reason or "",
        "reportingController": lambda event: event.reporting_controller or "",
        "type": lambda event: event.type or "",
    },
    columns=tuple(map(of_core, CORE_COLUMNS)),
)
