"""/debug/api_priority_and_fairness/...: what waits where, as tables that people read."""

from collections.abc import Iterable, Iterator, Mapping

from kybern.aio.clock import rfc3339_micro
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.flowcontrol.level import Level
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response

BASE = "/debug/api_priority_and_fairness"
Row = Iterable[object]


class Dumps:
    def __init__(self, control: FlowControl) -> None:
        self.control = control

    def paths(self) -> Mapping[str, Layer]:
        return {
            f"{BASE}/dump_priority_levels": self.levels,
            f"{BASE}/dump_queues": self.queues,
            f"{BASE}/dump_requests": self.requests,
        }

    async def levels(self, request: ApiRequest) -> Response:
        head = ("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests")
        return table(head, map(level_row, self._levels()))

    async def queues(self, request: ApiRequest) -> Response:
        head = ("PriorityLevelName", "Index", "PendingRequests", "SeatsInUse", "NextDispatchR")
        return table(head, (row for level in self._levels() for row in queue_rows(level)))

    async def requests(self, request: ApiRequest) -> Response:
        head = ("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher",
                "ArriveTime", "InitialSeats")  # fmt: skip
        clock = self.control.clock
        offset = clock.wall() - clock.monotonic()
        return table(head, (row for level in self._levels() for row in request_rows(level, offset)))

    def _levels(self) -> list[Level]:
        return sorted(self.control.levels.values(), key=lambda level: level.name)


def level_row(level: Level) -> Row:
    queues = level.queues
    if level.exempt or queues is None:
        return (level.name, *["<none>"] * 5)
    active = sum(1 for queue in queues.queues if queue.waiting)
    idle = not queues.size and not level.in_use
    return level.name, active, str(idle).lower(), "false", queues.size, level.executing


def queue_rows(level: Level) -> Iterator[Row]:
    for index, queue in enumerate(level.queues.queues if level.queues is not None else ()):
        yield level.name, index, len(queue.waiting), queue.running, f"{queue.virtual:.8f}ss"


def request_rows(level: Level, offset: float) -> Iterator[Row]:
    for index, queue in enumerate(level.queues.queues if level.queues is not None else ()):
        for place, (ticket, seats) in enumerate(queue.waiting):
            arrived = rfc3339_micro(offset + ticket.arrived)
            yield level.name, ticket.schema, index, place, ticket.distinguisher, arrived, seats


def table(head: Row, rows: Iterable[Row]) -> Response:
    """Columns of equal width, each cell with its comma."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) + 2 for column in zip(*cells, strict=True)]
    lines = (
        "".join(f"{cell},".ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + row[-1]
        for row in cells
    )
    return Response(200, {"Content-Type": "text/plain; charset=utf-8"}, "\n".join([*lines, ""]).encode())
