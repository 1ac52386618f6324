"""A connection after an upgrade: `Connection` over an asyncio transport, the same for server and client."""

import asyncio

from kybern.web.inflow import Inflow, Outflow


class TakenConnection:
    """Bytes that arrived behind the upgrade are the first that `receive` returns."""

    def __init__(self, transport: asyncio.Transport, inflow: Inflow, outflow: Outflow) -> None:
        self.transport = transport
        self.inflow = inflow
        self.outflow = outflow

    async def receive(self) -> bytes:
        return await self.inflow.next()

    async def send(self, data: bytes) -> None:
        if self.outflow.lost or self.transport.is_closing():
            raise ConnectionResetError("the connection is gone")
        self.transport.write(data)
        if self.outflow.paused:
            await self.outflow.drain()

    async def send_eof(self) -> None:
        if not self.outflow.lost and self.transport.can_write_eof():
            self.transport.write_eof()

    def close(self) -> None:
        self.transport.close()
