"""Flow control as a whole: it follows the configuration, knows whose flow a request is, and shares the seats out.

    control = FlowControl(objects, clock)
    flow = control.flow(attributes)          # a dictionary look-up for whoever was here before
    ...
    await control.run()                      # beside it: keeps the configuration, its conditions, and the limits

Without any configuration in the store the mandatory objects hold, so there is never a request without a flow.
"""

import asyncio
import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.api.errors import ApiError
from kybern.api.flowcontrol_v1 import FlowSchema, PriorityLevelConfiguration
from kybern.apiserver.bootstrap.flowcontrol import ensure_flow_control
from kybern.apiserver.flowcontrol.conditions import tell_dangling
from kybern.apiserver.flowcontrol.level import Counts, Level
from kybern.apiserver.flowcontrol.limits import bounds, shared_out
from kybern.apiserver.flowcontrol.matching import distinguisher, first_match, in_order
from kybern.apiserver.flowcontrol.shuffle import deal, flow_hash
from kybern.apiserver.paths import PATH_CHARS_MAX
from kybern.apiserver.request import Attributes, Objects
from kybern.registry import flowdefaults
from kybern.store.interface import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T", FlowSchema, PriorityLevelConfiguration)

SEATS = 600  # upstream's --max-requests-inflight and --max-mutating-requests-inflight together
ADJUST_SECONDS = 10.0
FLOWS_MAX = 8192  # remembered: each a few hundred bytes


@dataclass(frozen=True, slots=True)
class Flow:
    """Where requests of one kind, of one user, belong."""

    schema: str
    distinguisher: str
    level: Level
    hand: Sequence[int]
    counts: Counts
    headers: dict[str, str]


class FlowControl:
    def __init__(self, objects: Objects, clock: Clock, seats: int = SEATS) -> None:
        self.objects = objects
        self.clock = clock
        self.seats = seats
        self.levels: dict[str, Level] = {}
        self.counts: dict[tuple[str, str], Counts] = {}
        """By schema and level."""
        self.schemas: Sequence[FlowSchema] = ()
        self.unsettled = asyncio.Event()
        self._flows: dict[Hashable, Flow] = {}
        for kind in (FlowSchema, PriorityLevelConfiguration):
            objects.on_change(kind, self._changed)
        self._read()

    def flow(self, attributes: Attributes) -> Flow:
        a = attributes
        key = (
            a.user.name,
            a.user.groups,
            a.verb,
            a.group,
            a.resource,
            a.subresource,
            a.namespace if a.resource else a.path,
        )
        found = self._flows.get(key)
        if found is None and len(a.path) > PATH_CHARS_MAX:
            return self._found(attributes)
        if found is None:
            if len(self._flows) >= FLOWS_MAX:
                self._flows.clear()
            found = self._flows[key] = self._found(attributes)
        return found

    def _found(self, attributes: Attributes) -> Flow:
        schema = first_match(self.schemas, attributes) or self.schemas[-1]
        name, level = schema.metadata.name or "", self.levels[level_of(schema)]
        told_apart = distinguisher(schema, attributes)
        queuing = level.queuing
        hand = (
            deal(flow_hash(name, told_apart), queuing.queues or 1, queuing.hand_size or 1)
            if queuing is not None
            else ()
        )
        headers = {
            "X-Kubernetes-Pf-Flowschema-Uid": schema.metadata.uid or "",
            "X-Kubernetes-Pf-Prioritylevel-Uid": level.uid,
        }
        counts = self.counts.setdefault((name, level.name), Counts())
        return Flow(name, told_apart, level, hand, counts, headers)

    # --- the configuration --------------------------------------------------------------------------------------------

    def _changed(self, old: Any, new: Any) -> None:
        if old is None or new is None or old.spec != new.spec:
            self._read()
        self.unsettled.set()

    def _read(self) -> None:
        """The configuration as it now is."""
        mandatory = [one for one in flowdefaults.levels() if one.metadata.name in flowdefaults.MANDATORY]
        held = by_name([*mandatory, *self.objects.list(PriorityLevelConfiguration)])
        kept = {}
        for name, configuration in held.items():
            level = self.levels.get(name)
            if level is None:
                level = Level(configuration, self.clock)
            else:
                level.configure(configuration)
            kept[name] = level
        self.levels = kept
        fallback = [one for one in flowdefaults.schemas() if one.metadata.name in flowdefaults.MANDATORY]
        known = by_name([*fallback, *self.objects.list(FlowSchema)])
        self.schemas = in_order(schema for schema in known.values() if level_of(schema) in kept)
        self._flows.clear()
        for name, bound in bounds({name: one.spec for name, one in held.items()}, self.seats).items():
            self.levels[name].bounds = bound
            self.levels[name].resize(bound.nominal)

    # --- beside the requests ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        self.unsettled.set()
        while True:
            try:
                async with timeout(ADJUST_SECONDS):
                    await self.unsettled.wait()
            except TimeoutError:
                self.adjust()
                continue
            self.unsettled.clear()
            try:
                await ensure_flow_control(self.objects)
                await tell_dangling(self.objects, self.clock)
            except* (ApiError, StoreError) as failed:
                log.warning("the flow control configuration cannot be put right now: %s", failed.exceptions[0])
                await self.clock.sleep(ADJUST_SECONDS)
                self.unsettled.set()

    def adjust(self) -> None:
        """Seats that some do not use go to those that want them."""
        limited = [level for level in self.levels.values() if not level.exempt]
        now = self.clock.monotonic()
        given = shared_out([(level.bounds, level.demand.taken(now)) for level in limited], self.seats)
        for level, limit in zip(limited, given, strict=True):
            level.resize(limit)


def by_name(objects: Iterable[T]) -> dict[str, T]:
    """The last of each name."""
    return {one.metadata.name or "": one for one in objects}


def level_of(schema: FlowSchema) -> str:
    return schema.spec.priority_level_configuration.name
