"""The agent's end of the gateway: started here, and started anew when it has ended."""

import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.timeouts import timeout
from kybern.runtime.remote.peer import FRAME_BYTES_MAX, UNAVAILABLE, Peer, RpcError, Serve, no_calls

MODULE = "kybern.runtime.remote.gateway"
RESTART = Backoff(first_seconds=0.2, max_seconds=10.0)
RETURN_SECONDS = 5.0  # how long a call waits for a gateway that is being started

log = logging.getLogger(__name__)


class Gate:
    """`what` is dial or listen, `where` a target or a path; `serve` answers the calls of others."""

    def __init__(self, what: str, where: str, clock: Clock, serve: Serve = no_calls) -> None:
        self.what, self.where, self.clock, self.serve = what, where, clock, serve
        self.peer: Peer | None = None
        self.open = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; then the gateway has ended."""
        failures = 0
        while True:
            started_at = self.clock.monotonic()
            await self._run_once()
            failures = failures + 1 if self.clock.monotonic() - started_at < RESTART.max_seconds else 1
            log.warning("the gateway of %s has ended", self.where)
            await self.clock.sleep(RESTART.delay(failures))

    async def _run_once(self) -> None:
        here, there = socket.socketpair()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", MODULE, self.what, self.where), stdin=there.fileno()
        )
        there.close()
        reader, writer = await asyncio.open_connection(sock=here, limit=FRAME_BYTES_MAX)
        self.peer = Peer(reader, writer, self.serve)
        self.open.set()
        try:
            await self.peer.run()
        finally:
            self.open.clear()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def call(self, path: str, body: bytes, seconds: float) -> bytes:
        return await (await self._peer()).call(path, body, seconds)

    async def stream(self, path: str, body: bytes) -> AsyncIterator[bytes]:
        async for piece in (await self._peer()).stream(path, body):
            yield piece

    async def _peer(self) -> Peer:
        try:
            async with timeout(RETURN_SECONDS):
                await self.open.wait()
        except TimeoutError:
            raise RpcError(UNAVAILABLE, "the gateway is not running") from None
        assert self.peer is not None, "it is open"
        return self.peer
