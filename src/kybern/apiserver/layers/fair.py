"""Whose turn it is: a request gets the seats of its priority level, waits for them, or is told to come back.

What goes on for long (exec, proxies, logs) takes no seats; a watch takes one until it is set up.
"""

from dataclasses import dataclass

from kybern.aio.beside import asked_by
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.flowcontrol.width import seats_of
from kybern.apiserver.machine import Machine
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response

LONG = ("exec", "attach", "portforward", "proxy", "log")


@dataclass(frozen=True, slots=True)
class FairLayer:
    control: FlowControl
    machine: Machine
    next: Layer

    async def __call__(self, request: ApiRequest) -> Response:
        with asked_by(request.user.name):
            return await self.in_turn(request)

    async def in_turn(self, request: ApiRequest) -> Response:
        at = request.attributes
        if at.subresource in LONG:
            return await self.next(request)
        flow = self.control.flow(at)
        request.flow_headers = flow.headers
        level = flow.level
        if level.exempt:
            flow.counts.dispatched += 1
            return await self.next(request)
        seats = 1
        if at.verb in ("list", "watch"):
            storage = self.machine.storages.get((at.group, at.version, at.resource))
            seats = seats_of(request, storage, level.bounds.nominal)
        seated = level.seat(seats, flow.counts) or await level.wait(
            seats, flow.schema, flow.distinguisher, flow.hand, flow.counts
        )
        try:
            return await self.next(request)
        finally:
            level.leave(seated)
