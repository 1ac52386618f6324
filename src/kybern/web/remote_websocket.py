"""exec, attach and port-forward over WebSocket: the first byte of a message is the number of its channel.

- `v4` and `v5.channel.k8s.io` end with a JSON status on the error channel, `channel.k8s.io` with a text or nothing.
- In `v5` a message of 255 and a channel's number closes that channel: the only way to end stdin.
- The base64 protocols are for browsers: text messages, the channel's number as a digit and its data in base64.
"""

import asyncio
import base64
import binascii
from contextlib import suppress

from kybern.web.channel import Channel, pieces_of
from kybern.web.http import Request, Response
from kybern.web.remote_command import RemoteCommand, Serve, Streams, serve_while
from kybern.web.websocket import WebSocket, accept

STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)
CLOSE = 255

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
BASE64 = ("base64.channel.k8s.io", "v4.base64.channel.k8s.io")
PROTOCOLS = (V5, V4, "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io")


class SocketChannel(Channel):
    def __init__(self, channels: "SocketChannels", number: int) -> None:
        super().__init__()
        self.channels = channels
        self.number = number

    async def send(self, data: bytes) -> None:
        for piece in pieces_of(data):
            await self.channels.send(self.number, piece)

    async def close(self) -> None:
        """Only `v5` can say it, and only of what the client sends: the others end with the connection."""
        if self.channels.is_client and self.channels.socket.subprotocol == V5:
            await self.channels.send(CLOSE, bytes([self.number]))


class SocketChannels:
    """All channels of a WebSocket. `run` reads it until it ends; then every channel has ended."""

    def __init__(self, socket: WebSocket, count: int, *, is_client: bool = False) -> None:
        self.socket = socket
        self.is_client = is_client
        self.base64 = socket.subprotocol in BASE64
        self.channels = [SocketChannel(self, number) for number in range(count)]

    def __getitem__(self, number: int) -> SocketChannel:
        return self.channels[number]

    async def run(self) -> None:
        try:
            while (message := await self.socket.receive()) is not None:
                if not message:
                    continue
                number, data = self.decode(message)
                if number == CLOSE:
                    if data and data[0] < len(self.channels):
                        self.channels[data[0]].inflow.end()
                elif number < len(self.channels) and not self.channels[number].inflow.ended:
                    await self.channels[number].put(data)
        finally:
            for channel in self.channels:
                channel.inflow.end()
                channel.room.set()

    async def send(self, number: int, data: bytes) -> None:
        if self.base64:
            await self.socket.send(chr(ord("0") + number) + base64.b64encode(data).decode())
        else:
            await self.socket.send(bytes([number]) + data)

    def decode(self, message: bytes | str) -> tuple[int, bytes]:
        """The channel and the data; a message that makes no sense belongs to no channel."""
        if not self.base64:
            raw = message if isinstance(message, bytes) else message.encode()
            return raw[0], raw[1:]
        text = message if isinstance(message, str) else message.decode("latin-1")
        with suppress(binascii.Error, ValueError):
            return ord(text[0]) - ord("0"), base64.b64decode(text[1:], validate=True)
        return CLOSE, b""


def accept_over_websocket(request: Request, wanted: Streams, serve: Serve) -> Response:
    async def takeover(socket: WebSocket) -> None:
        async with asyncio.TaskGroup() as group:
            channels = SocketChannels(socket, count=5)
            reading = group.create_task(channels.run())
            command = command_on(channels, wanted)
            await announce(command)
            await serve_while(reading, serve(command))
            reading.cancel()
            await asyncio.wait([reading])
            await socket.close()

    return accept(request, PROTOCOLS, takeover, required=False)


def command_on(channels: SocketChannels, wanted: Streams) -> RemoteCommand:
    for number, channel in enumerate(channels.channels):
        if not ((number == STDIN and wanted.stdin) or (number == RESIZE and wanted.tty)):
            channel.ignore()  # Nobody would read it, and the other channels would wait behind it.
    return RemoteCommand(
        stdin=channels[STDIN] if wanted.stdin else None,
        stdout=channels[STDOUT] if wanted.stdout else None,
        stderr=channels[STDERR] if wanted.stderr and not wanted.tty else None,
        resize=channels[RESIZE] if wanted.tty else None,
        error=channels[ERROR],
        speaks_status=channels.socket.subprotocol in (V5, V4, "v4.base64.channel.k8s.io"),
    )


async def announce(command: RemoteCommand) -> None:
    """An empty message on the first output tells the client that it is connected, as upstream does."""
    first = next(channel for channel in (command.stdout, command.stderr, command.error) if channel is not None)
    await first.send(b"")
