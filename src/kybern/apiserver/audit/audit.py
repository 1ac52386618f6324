"""Audit of requests: decided by the policy when the user is known, told at each stage, given to the sinks.

    audit = Audit(policy, sinks, clock, ids)
    server = ApiServer(..., audit=audit)

- RequestReceived when it came, ResponseComplete when it is answered; what streams also tells ResponseStarted, and is
  complete when the stream ends. A request that failed authentication is told of once.
- A sink that has no room loses the event, which is counted; no request waits or fails for it.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from prometheus_client.core import CounterMetricFamily

from kybern.aio.clock import Clock, rfc3339_micro
from kybern.aio.ids import Ids
from kybern.apiserver.audit.event import Event, beginning, bodies, status_of, user_info
from kybern.apiserver.audit.followed import FollowedStream
from kybern.apiserver.audit.policy import Decided, Level, Policy, decide
from kybern.apiserver.audit.sink import Sink
from kybern.apiserver.request import PATCH_ANNOTATION, ApiRequest
from kybern.web.http import Connection, Response, Upgrade

EVENT_BYTES_MAX = 10 * 1024 * 1024  # a longer one goes without its objects; upstream's figure
TRUNCATED = {"audit.k8s.io/truncated": "true"}
AUDIT_ID = "audit-id"
ID_CHARACTERS_MAX = 64


@dataclass(slots=True)
class Told:
    """A request that is audited, and what has been said of it."""

    request: ApiRequest
    decided: Decided
    event: Event


@dataclass(slots=True, eq=False)
class Audit:
    policy: Policy
    sinks: Sequence[Sink]
    clock: Clock
    ids: Ids
    events: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    def received(self, request: ApiRequest) -> None:
        """Its user is known now, and nothing else has been done."""
        at, user = request.attributes, request.impersonator or request.user
        decided = decide(self.policy, at if user is at.user else msgspec.structs.replace(at, user=user))
        if decided.level is Level.NONE:
            return
        told = self._beginning(request, decided)
        self._tell(told, "RequestReceived")
        request.on_answer = lambda response: self._answered(told, response)

    def unauthenticated(self, request: ApiRequest, response: Response) -> None:
        decided = decide(self.policy, request.attributes)
        if decided.level is not Level.NONE:
            told = self._beginning(request, decided)
            told.event["user"] = {}
            self._tell(told, "ResponseStarted", responseStatus=status_of(response))

    def _beginning(self, request: ApiRequest, decided: Decided) -> Told:
        given = request.http.headers.get(AUDIT_ID, "")
        known = given if given.isprintable() and len(given) <= ID_CHARACTERS_MAX else ""
        user = request.impersonator or request.user
        event = beginning(request, decided, known or self.ids.uid(), user, self.clock.wall())
        if request.impersonator is not None:
            event["impersonatedUser"] = user_info(request.user)
        return Told(request, decided, event)

    def _answered(self, told: Told, response: Response) -> Response:
        response.headers = {**response.headers, "Audit-Id": told.event["auditID"]}
        status = status_of(response)
        if isinstance(response, Upgrade) and response.takeover is not None:
            self._tell(told, "ResponseStarted", responseStatus=status)
            carried = response.takeover

            async def takeover(connection: Connection) -> None:
                try:
                    await carried(connection)
                finally:
                    self._tell(told, "ResponseComplete", responseStatus=status)

            response.takeover = takeover
        elif isinstance(response.body, AsyncIterator):
            self._tell(told, "ResponseStarted", responseStatus=status)
            ended = partial(self._tell, told, "ResponseComplete", responseStatus=status)
            response.body = FollowedStream(response.body, ended)
        else:
            objects = bodies(told.request, response, told.decided)
            self._tell(told, "ResponseComplete", responseStatus=status, **objects)
        return response

    def _tell(self, told: Told, stage: str, **more: Any) -> None:
        if stage in told.decided.omit_stages:
            return
        event = told.event | {"stage": stage, "stageTimestamp": rfc3339_micro(self.clock.wall())} | more
        annotations = annotations_at(told.decided.level, told.request.audit)
        if annotations:
            event["annotations"] = annotations
        line = msgspec.json.encode(event)
        if len(line) > EVENT_BYTES_MAX:
            event = {key: value for key, value in event.items() if key not in ("requestObject", "responseObject")}
            line = msgspec.json.encode(event | {"annotations": TRUNCATED | event.get("annotations", {})})
        self.events += 1
        for sink in self.sinks:
            if not sink.put(line + b"\n"):
                self.lost[sink.name] += 1

    def collect(self) -> Iterator[Any]:
        yield CounterMetricFamily("apiserver_audit_event", "Audit events generated.", value=self.events)
        lost = CounterMetricFamily("apiserver_audit_error", "Audit events that were lost.", labels=["plugin"])
        for name, count in self.lost.items():
            lost.add_metric([name], count)
        yield lost


def annotations_at(level: Level, noted: Mapping[str, str]) -> dict[str, str]:
    """Without what tells of the objects themselves, where the log does not."""
    shown = level >= Level.REQUEST
    return {key: value for key, value in noted.items() if shown or not key.startswith(PATCH_ANNOTATION)}
