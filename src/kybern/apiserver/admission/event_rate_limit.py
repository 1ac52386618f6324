"""EventRateLimit: so many Events a second, for the server, a namespace, a user, or one source and object.

Each limit is token buckets, refilled by time; of those of one limit the ones used longest ago are forgotten.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Event
from kybern.api.errors import TooManyRequests
from kybern.api.events_v1 import Event as NewEvent
from kybern.apiserver.admission.plugin import Inputs, Plugin, is_write_of
from kybern.apiserver.request import Admission

BUCKETS_MAX = 4096  # upstream's default cache size
TYPES = ("Server", "Namespace", "User", "SourceAndObject")


class EventLimit(Struct, frozen=True, rename="camel"):
    """One of `limits` in upstream's configuration."""

    type: str
    qps: int
    burst: int
    cache_size: int = 0


def limits_in(configuration: Any) -> tuple[EventLimit, ...]:
    """ValueError, or msgspec's, where it makes no sense."""
    limits = msgspec.convert(configuration.get("limits") or [], tuple[EventLimit, ...])
    for limit in limits:
        if limit.type not in TYPES or limit.qps <= 0 or limit.burst <= 0:
            raise ValueError(f"a limit has a type of {', '.join(TYPES)}, and a positive qps and burst")
    return limits


@dataclass(slots=True)
class Bucket:
    left: float
    filled: float


class Buckets:
    def __init__(self, limit: EventLimit, clock: Clock) -> None:
        self.limit = limit
        self.clock = clock
        self.held: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, key: str) -> bool:
        now = self.clock.monotonic()
        bucket = self.held.setdefault(key, Bucket(self.limit.burst, now))
        self.held.move_to_end(key)
        if len(self.held) > (self.limit.cache_size or BUCKETS_MAX):
            self.held.popitem(last=False)
        bucket.left = min(bucket.left + (now - bucket.filled) * self.limit.qps, self.limit.burst)
        bucket.filled = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


class EventRateLimit(Plugin):
    name = "EventRateLimit"
    kinds = (Event, NewEvent)

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.limits = [Buckets(limit, inputs.clock) for limit in limits_in(inputs.configuration.get(self.name, {}))]

    async def validate(self, admission: Admission) -> None:
        if admission.dry_run or not any(is_write_of(admission, kind) for kind in (Event, NewEvent)):
            return
        for buckets in self.limits:
            key = key_of(buckets.limit.type, admission)
            if not buckets.take(key):
                told = f"limit reached on type {buckets.limit.type} for key {key}"
                raise TooManyRequests(told, retry_after_seconds=1)


def key_of(kind: str, admission: Admission) -> str:
    if kind == "Namespace":
        return admission.namespace
    if kind == "User":
        return admission.user.name
    return source_and_object(admission.object) if kind == "SourceAndObject" else ""


def source_and_object(event: Any) -> str:
    if isinstance(event, NewEvent):
        about, parts = event.regarding, [event.reporting_controller or "", event.reporting_instance or ""]
    else:
        about, source = event.involved_object, event.source
        parts = [source.component or "", source.host or ""] if source is not None else ["", ""]
    if about is not None:
        parts += [about.kind or "", about.namespace or "", about.name or "", about.uid or "", about.api_version or ""]
    return "".join(parts)
