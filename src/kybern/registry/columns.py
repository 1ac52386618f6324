"""What tables have in common: the columns Name and Age, and how a moment, a list or nothing at all is printed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
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


NAME = Column("Name", name_cell, format="name", of="meta_v1.ObjectMeta.name")
BARE_NAME = replace(NAME, format="")
AGE = Column("Age", age_cell, of="meta_v1.ObjectMeta.creationTimestamp")


def or_unset(text: str | None) -> str:
    return UNSET if text is None else text


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


def points_of(balancer: Any) -> list[str]:
    """Where a load balancer is to be reached, each place once and in order."""
    entries = (balancer.ingress or ()) if balancer is not None else ()
    return sorted({entry.ip or entry.hostname for entry in entries if entry.ip or entry.hostname})


def container_columns(containers_of: Any) -> tuple[Column, Column]:
    """Containers and Images, for kinds that have a pod template."""
    return (
        Column(
            "Containers",
            lambda obj, now: ",".join(c.name for c in containers_of(obj)),
            priority=1,
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda obj, now: ",".join(c.image or "" for c in containers_of(obj)),
            priority=1,
            description="Images referenced by each container in the template.",
        ),
    )


def template_containers(obj: Any) -> Any:
    template = obj.spec.template
    return template.spec.containers if template is not None else ()


TEMPLATE_COLUMNS = container_columns(template_containers)


def selector_column(of: str) -> Column:
    return Column("Selector", lambda obj, now: selector_text(obj.spec.selector), priority=1, of=of)
