"""The machine's own ports that lead into a cluster whose network is another one: what is sent to loopback there goes on to
the node, as if it had been sent to the node's address.

`wanted` says which: each node port, and those that Ingresses are served on. A port that cannot be had is tried again as
long as it is wanted, and said once.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Service
from kybern.network.follow import Followed, changed_within

RETRY_SECONDS = 5.0
IDLE_SECONDS = 60.0  # of a conversation by UDP, which says no end
CONVERSATIONS_MAX = 1024  # by UDP, of one port
PIECE = 1 << 16

log = logging.getLogger(__name__)


class Port(NamedTuple):
    kind: str
    """tcp or udp."""
    number: int


def wanted(services: Iterable[Service], always: Iterable[Port]) -> frozenset[Port]:
    found = {
        Port((port.protocol or "TCP").lower(), port.node_port)
        for service in services
        for port in service.spec.ports or ()
        if port.node_port
    }
    return frozenset(always) | {port for port in found if port.kind in ("tcp", "udp")}


class MachinePorts:
    def __init__(
        self,
        view: Followed,
        open_port: Callable[[Port], socket.socket],
        node: str,
        always: Iterable[Port],
        clock: Clock,
    ) -> None:
        """`open_port` gives a socket of the machine's network, bound and listening."""
        self.view, self.open_port, self.node, self.always, self.clock = view, open_port, node, tuple(always), clock
        self.open: dict[Port, asyncio.AbstractServer | asyncio.DatagramTransport] = {}
        self.refused: dict[Port, str] = {}
        self.changed = asyncio.Event()
        view.on_change(Service, lambda old, new: self.changed.set())

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                self.changed.clear()
                await self.become(wanted(self.view.list(Service), self.always))
                await changed_within(self.changed, RETRY_SECONDS if self.refused else None)
        finally:
            for served in self.open.values():
                served.close()

    async def become(self, ports: frozenset[Port]) -> None:
        for port in self.open.keys() - ports:
            self.open.pop(port).close()
        refused = {}
        for port in sorted(ports - self.open.keys()):
            try:
                self.open[port] = await self.serve(port)
            except OSError as error:
                refused[port] = error.strerror or str(error)
                if self.refused.get(port) != refused[port]:
                    log.warning("port %d/%s of this machine cannot be had: %s", port.number, port.kind, refused[port])
        self.refused = refused

    async def serve(self, port: Port) -> asyncio.AbstractServer | asyncio.DatagramTransport:
        sock = self.open_port(port)
        if port.kind == "tcp":
            return await asyncio.start_server(lambda r, w: self.carry(r, w, port.number), sock=sock)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: Talks(self.node, port.number, self.clock), sock=sock)
        return transport

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            there, back = await asyncio.open_connection(self.node, port)
        except OSError:
            writer.transport.abort()  # as refused as it is there
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(pump(reader, back))
                tasks.create_task(pump(there, writer))
        except* OSError:
            pass  # one side is gone, or cannot be reached any more, and with it the reason for the other
        finally:
            back.close()
            writer.close()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """One direction, to its end: which is passed on and leaves the other open."""
    while data := await source.read(PIECE):
        sink.write(data)
        await sink.drain()
    if not sink.is_closing():  # else there is nobody to be told
        sink.write_eof()


class Talks(asyncio.DatagramProtocol):
    """A port of UDP: a socket towards the node for each address that sends to it, which the answers come back by."""

    def __init__(self, node: str, port: int, clock: Clock) -> None:
        self.node, self.port, self.clock = node, port, clock
        self.by_sender: dict[Any, Talk] = {}
        """Who has been silent the longest first."""
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, sender: Any) -> None:
        self.forget_idle()
        talk = self.by_sender.pop(sender, None)
        if talk is None:
            if len(self.by_sender) >= CONVERSATIONS_MAX:
                return
            talk = Talk(self.node, self.port, lambda answer: self.answer(answer, sender))
        self.by_sender[sender] = talk
        talk.last = self.clock.monotonic()
        talk.send(data)

    def answer(self, data: bytes, sender: Any) -> None:
        self.transport.sendto(data, sender)

    def forget_idle(self) -> None:
        long_ago = self.clock.monotonic() - IDLE_SECONDS
        while self.by_sender and (first := next(iter(self.by_sender.items())))[1].last < long_ago:
            self.by_sender.pop(first[0]).close()

    def connection_lost(self, error: Exception | None) -> None:
        for talk in self.by_sender.values():
            talk.close()
        self.by_sender.clear()


class Talk:
    def __init__(self, node: str, port: int, answered: Callable[[bytes], None]) -> None:
        self.last = 0.0
        self.answered = answered
        self.sock = socket.socket(socket.AF_INET6 if ":" in node else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect((node, port))
        asyncio.get_running_loop().add_reader(self.sock, self.heard)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody is there, or the buffer is full: UDP promises nothing
            self.sock.send(data)

    def heard(self) -> None:
        with contextlib.suppress(OSError):
            self.answered(self.sock.recv(PIECE))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()
