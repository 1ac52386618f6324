"""exec, attach and port-forward served by URL: a runtime gives an address, and whoever comes there has the streams.

A URL is good for one use and a minute. It names nothing but its token, which nobody can guess.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.runtime.cri import ExecIO, Runtime
from kybern.runtime.streams import connect_to, serve_remote
from kybern.web.http import Request, Response
from kybern.web.port_forward import accept_port_forward
from kybern.web.remote_command import Streams

TOKEN_BITS = 256
LIVES_SECONDS = 60.0  # upstream's
WAITING_MAX = 1000


class TooMany(Exception):
    """More URLs wait to be used than are kept."""


@dataclass(frozen=True, slots=True)
class Ticket:
    answer: Callable[[Request], Response]
    until: float


class StreamingServer:
    """A handler for `web.server`; `address` is where it is served."""

    def __init__(self, runtime: Runtime, clock: Clock, ids: Ids) -> None:
        self.runtime, self.clock, self.ids = runtime, clock, ids
        self.address = ""
        self.tickets: dict[str, Ticket] = {}

    async def __call__(self, request: Request) -> Response:
        ticket = self.tickets.pop(request.path, None)
        if ticket is None or ticket.until < self.clock.monotonic():
            return Response(404, {"Content-Type": "text/plain"}, b"404 page not found")
        return ticket.answer(request)

    def exec(self, container_id: str, command: list[str], wanted: Streams) -> str:
        start = partial(self.runtime.exec, container_id, command, stdin=wanted.stdin, tty=wanted.tty)
        return self._process("exec", wanted, start, " ".join(command))

    def attach(self, container_id: str, wanted: Streams) -> str:
        start = partial(self.runtime.attach, container_id, stdin=wanted.stdin, tty=wanted.tty)
        return self._process("attach", wanted, start, container_id)

    def _process(self, kind: str, wanted: Streams, start: Callable[[], Awaitable[ExecIO]], named: str) -> str:
        return self._ticket(kind, lambda request: serve_remote(request, wanted, start, named))

    def port_forward(self, sandbox_id: str, ports: list[int]) -> str:
        connect = partial(connect_to, self.runtime, sandbox_id)
        return self._ticket("portforward", lambda request: accept_port_forward(request, ports, connect))

    def _ticket(self, kind: str, answer: Callable[[Request], Response]) -> str:
        now = self.clock.monotonic()
        self.tickets = {path: ticket for path, ticket in self.tickets.items() if ticket.until >= now}
        if len(self.tickets) >= WAITING_MAX:
            raise TooMany("maximum number of in-flight requests exceeded")
        path = f"/{kind}/{self.ids.rng.getrandbits(TOKEN_BITS):064x}"
        self.tickets[path] = Ticket(answer, now + LIVES_SECONDS)
        return f"http://{self.address}{path}"
