"""exec and attach: the streams of one process, the same over SPDY and WebSocket.

    return accept_remote_command(request, Streams(stdin=True, stdout=True, stderr=True), serve)

    async def serve(command: RemoteCommand) -> None:
        await command.stdout.send(b"hello")
        await command.exit(SUCCESS)

`accept_remote_command` answers with an `Upgrade`, or with the refusal. What the status means is the caller's affair: it
comes as ready-made JSON, with the text that clients too old for it are told. A client that goes cancels `serve`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass

from kybern.web.channel import Channel
from kybern.web.http import Request, Response

RESIZE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Streams:
    """What the client asks for. With a terminal there is no stderr: both are one."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


@dataclass(slots=True)
class RemoteCommand:
    """The server's side. Streams that the client did not ask for are None."""

    stdin: Channel | None
    stdout: Channel | None
    stderr: Channel | None
    resize: Channel | None
    error: Channel | None
    speaks_status: bool = True
    """Whether the client reads a JSON status, or only a text that means failure."""

    async def sizes(self) -> AsyncIterator[tuple[int, int]]:
        """The terminal's (width, height), each time that it changes."""
        buffer = b""
        while self.resize is not None and (data := await self.resize.receive()):
            buffer = (buffer + data)[-RESIZE_BYTES_MAX:]
            found, buffer = sizes_in(buffer)
            for size in found:
                yield size

    async def exit(self, status: bytes, text: str = "") -> None:
        """Ends the output and says how the command ended; `text` is empty for a success."""
        for channel in (self.stdout, self.stderr):
            if channel is not None:
                await channel.close()
        if self.error is not None:
            message = status if self.speaks_status else text.encode()
            if message:
                await self.error.send(message)
            await self.error.close()


Serve = Callable[[RemoteCommand], Coroutine[None, None, None]]


def accept_remote_command(request: Request, wanted: Streams, serve: Serve) -> Response:
    """Speaks what the client speaks; whatever `serve` raises after the upgrade ends the connection."""
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        return Response(400, {"Content-Type": "text/plain"}, b"you must specify at least 1 of stdin, stdout, stderr")
    protocol = request.headers.get("upgrade", "").lower()
    if protocol == "websocket":
        from kybern.web.remote_websocket import accept_over_websocket  # websockets takes 80 ms to import

        return accept_over_websocket(request, wanted, serve)
    if protocol == "spdy/3.1":
        from kybern.web.remote_spdy import accept_over_spdy

        return accept_over_spdy(request, wanted, serve)
    return Response(400, {"Content-Type": "text/plain"}, b"Upgrade request required")


async def serve_while(reading: asyncio.Task[None], serving: Coroutine[None, None, None]) -> None:
    """Serves until it is done, or until the client is gone, which cancels it."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(serving)
        await asyncio.wait([reading, task], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()


def sizes_in(buffer: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The sizes in a run of JSON objects, `{"Width":80,"Height":24}`, and what is left of the last one."""
    found, decoder, text, at = [], json.JSONDecoder(), buffer.decode("utf-8", "replace"), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
            found.append((int(value["Width"]), int(value["Height"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            newline = text.find("\n", at)  # What is no size is passed over, as far as its line goes.
            if newline < 0:
                break
            at = newline
        while at < len(text) and text[at].isspace():
            at += 1
    return found, text[at:].encode()
