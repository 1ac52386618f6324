"""exec and attach from the other side: what `kybern kubectl exec` uses.

async with remote_command(client, request) as remote:
    await remote.stdin.send(b"ls\n")
    ...
    status = await remote.status()
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kybern.web.channel import Channel
from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.remote_websocket import ERROR, RESIZE, STDERR, STDIN, STDOUT, V4, V5, SocketChannels
from kybern.web.websocket import connect


@dataclass(slots=True)
class RemoteProcess:
    stdin: Channel
    stdout: Channel
    stderr: Channel
    error: Channel
    terminal: Channel

    async def resize(self, width: int, height: int) -> None:
        await self.terminal.send(json.dumps({"Width": width, "Height": height}).encode())

    async def status(self) -> bytes:
        """How it ended, as the server's JSON says; empty when the connection ended without a word."""
        pieces = []
        while piece := await self.error.receive():
            pieces.append(piece)
        return b"".join(pieces)


@asynccontextmanager
async def remote_command(client: Client, request: Request) -> AsyncIterator[RemoteProcess]:
    """HandshakeRefused with the server's answer where there is no such process, or no right to it."""
    socket = await connect(client, request, (V5, V4))
    channels = SocketChannels(socket, count=5, is_client=True)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(channels.run())
        named = (STDIN, STDOUT, STDERR, ERROR, RESIZE)
        try:
            yield RemoteProcess(*(channels[number] for number in named))
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            await socket.close()
