"""What tables have in common: the columns Name and Age, and how a moment, a list or nothing at all is printed."""

from collections.abc import Iterable, Mapping
from typing import Any

from kybern.aio.clock import from_rfc3339
from kybern.api import selectors
from kybern.api.meta_v1 import LabelSelector
from kybern.registry.resource import Column

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 86400 * 365


def age(moment: str | None, now: float) -> str:
    """How long ago, in two units at most: 45s, 5m32s, 3d4h."""
    return between(moment, None, now)


def between(start: str | None, end: str | None, now: float) -> str:
    """From one moment to another, or to now; what is no moment spoils one cell, not the table."""
    if not start:
        return UNKNOWN
    try:
        return human((from_rfc3339(end) if end else now) - from_rfc3339(start))
    except ValueError:
        return UNKNOWN


def human(duration: float) -> str:
    seconds = int(duration)
    if seconds < -1:
        return "<invalid>"
    if seconds < 2 * MINUTE:
        return f"{max(seconds, 0)}s"
    if seconds < 10 * MINUTE:
        return two_units(seconds, MINUTE, "m", 1, "s")
    if seconds < 3 * HOUR:
        return f"{seconds // MINUTE}m"
    if seconds < 8 * HOUR:
        return two_units(seconds, HOUR, "h", MINUTE, "m")
    if seconds < 2 * DAY:
        return f"{seconds // HOUR}h"
    if seconds < 8 * DAY:
        return two_units(seconds, DAY, "d", HOUR, "h")
    if seconds < 2 * YEAR:
        return f"{seconds // DAY}d"
    if seconds < 8 * YEAR:
        return two_units(seconds, YEAR, "y", DAY, "d")
    return f"{seconds // YEAR}y"


def two_units(seconds: int, large: int, large_sign: str, small: int, small_sign: str) -> str:
    whole, rest = divmod(seconds, large)
    rest //= small
    return f"{whole}{large_sign}{rest}{small_sign}" if rest else f"{whole}{large_sign}"


def name_cell(obj: Any, now: float) -> str:
    return obj.metadata.name or ""


def age_cell(obj: Any, now: float) -> str:
    return age(obj.metadata.creation_timestamp, now)


NAME = Column("Name", name_cell, format="name")
AGE = Column("Age", age_cell)
CREATED_AT = Column("Created At", lambda obj, now: obj.metadata.creation_timestamp or "", format="date-time")


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else NONE


def selector_text(selector: LabelSelector | None) -> str:
    """As upstream formats a label selector: nothing at all is `<none>`."""
    if selector is None:
        return NONE
    try:
        return str(selectors.of_label_selector(selector)) or NONE
    except ValueError:
        return "<error>"


def joined(texts: Iterable[str] | None) -> str:
    return ",".join(texts or ()) or NONE


def shortened(texts: Iterable[str], most: int) -> str:
    """The first few, and how many more there are."""
    listed = list(texts)
    if len(listed) > most:
        return f"{','.join(listed[:most])} + {len(listed) - most} more..."
    return ",".join(listed) or NONE


def container_columns(containers_of: Any) -> tuple[Column, Column]:
    """Containers and Images, for kinds that have a pod template."""
    return (
        Column("Containers", lambda obj, now: ",".join(c.name for c in containers_of(obj)), priority=1),
        Column("Images", lambda obj, now: ",".join(c.image or "" for c in containers_of(obj)), priority=1),
    )


def template_containers(obj: Any) -> Any:
    template = obj.spec.template
    return template.spec.containers if template is not None else ()


TEMPLATE_COLUMNS = container_columns(template_containers)
SELECTOR = Column("Selector", lambda obj, now: selector_text(obj.spec.selector), priority=1)
