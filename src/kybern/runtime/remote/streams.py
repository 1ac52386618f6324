"""exec, attach and port-forward by the URL that a runtime gave for them: SPDY/3.1 to its streaming server, as upstream
speaks it. A URL is good for one use and a short time.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from kybern.aio.timeouts import timeout
from kybern.runtime.cri import RuntimeFault
from kybern.web.channel import CHANNEL_BYTES_MAX
from kybern.web.client import Client, ClientError
from kybern.web.http import Request
from kybern.web.port_forward import SPDY_PROTOCOL
from kybern.web.remote_spdy import V4
from kybern.web.spdy import SpdySession, SpdyStream

OPEN_SECONDS = 30.0
MESSAGE_BYTES_MAX = 64 << 10


async def session_of(url: str, protocol: str) -> SpdySession:
    """RuntimeFault where its server does not speak that way."""
    parts = urlsplit(url)
    client = Client(f"{parts.scheme}://{parts.netloc}", response_seconds=OPEN_SECONDS)
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}
    try:
        response, connection = await client.upgrade(Request("POST", parts.path, parts.query, headers))
    except ClientError as error:
        raise RuntimeFault("ExecError", f"the runtime's streaming server: {error}") from error
    if connection is None:
        said = response.body.decode(errors="replace").strip() if isinstance(response.body, bytes) else ""
        raise RuntimeFault("ExecError", f"unable to upgrade connection: {said or response.status}")
    return SpdySession(connection, server=False)


class Session:
    """A session, and the task that reads it."""

    def __init__(self, session: SpdySession) -> None:
        self.session = session
        self.reading = asyncio.get_running_loop().create_task(session.run())

    async def open(self, kind: str, **headers: str) -> SpdyStream:
        return await self.session.open({"streamtype": kind, **headers})

    async def close(self) -> None:
        self.session.connection.close()
        self.reading.cancel()
        await asyncio.wait([self.reading])


class RemoteIO:
    """Implements `cri.ExecIO`."""

    def __init__(self, session: Session, streams: Mapping[str, SpdyStream]) -> None:
        self.session, self.streams = session, streams
        self.ended = asyncio.get_running_loop().create_task(self._ending())

    async def _ending(self) -> int:
        pieces, size = [], 0
        with suppress(ConnectionError):
            while (piece := await self.streams["error"].receive()) and size < MESSAGE_BYTES_MAX:
                pieces.append(piece)
                size += len(piece)
        return exit_code(b"".join(pieces))

    async def read_stdout(self) -> bytes:
        return await self._read("stdout")

    async def read_stderr(self) -> bytes:
        return await self._read("stderr")

    async def _read(self, name: str) -> bytes:
        if name not in self.streams:
            return b""
        try:
            return await self.streams[name].receive()
        except ConnectionError:
            return b""

    async def write_stdin(self, data: bytes) -> None:
        """BrokenPipeError where the process no longer reads."""
        if "stdin" not in self.streams:
            raise BrokenPipeError(32, "stdin is closed")
        try:
            await self.streams["stdin"].send(data)
        except ConnectionError as error:
            raise BrokenPipeError(32, "stdin is closed") from error

    async def close_stdin(self) -> None:
        if "stdin" in self.streams:
            with suppress(ConnectionError):
                await self.streams["stdin"].close()

    async def resize(self, width: int, height: int) -> None:
        if "resize" in self.streams:
            with suppress(ConnectionError):
                await self.streams["resize"].send(json.dumps({"Width": width, "Height": height}).encode())

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        await self.session.close()
        self.ended.cancel()
        await asyncio.wait([self.ended])


async def remote_io(url: str, *, stdin: bool, tty: bool) -> RemoteIO:
    session = Session(await session_of(url, V4))
    wanted = ["error", *(["stdin"] if stdin else []), "stdout", *(["resize"] if tty else ["stderr"])]
    try:
        async with timeout(OPEN_SECONDS):
            return RemoteIO(session, {kind: await session.open(kind) for kind in wanted})
    except (ConnectionError, TimeoutError) as error:
        await session.close()
        raise RuntimeFault("ExecError", f"the runtime's streaming server: {error}") from error


def exit_code(said: bytes) -> int:
    """By the status that ends a command. RuntimeFault when it did not run at all, or nobody knows how it ended."""
    try:
        status: dict[str, Any] = json.loads(said or b"{}")
    except ValueError:
        raise RuntimeFault("ExecError", said.decode(errors="replace")) from None
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or ()
    if status.get("reason") == "NonZeroExitCode":
        for cause in causes:
            if cause.get("reason") == "ExitCode":
                return int(cause["message"])
    raise RuntimeFault("ExecError", status.get("message") or "the connection to the process was lost")


class PortConnection:
    """Implements `cri.ByteReader` and `cri.ByteWriter`. What could not be connected is told by the first read."""

    def __init__(self, session: Session, data: SpdyStream, error: SpdyStream) -> None:
        self.session, self.data, self.error = session, data, error
        self.unsent = bytearray()
        self.news, self.room = asyncio.Event(), asyncio.Event()
        self.no_more = False
        self.sending = asyncio.get_running_loop().create_task(self._send())

    async def read(self, bytes_max: int = 0) -> bytes:
        """A whole piece, however small the number that is asked for."""
        with suppress(ConnectionResetError):
            if piece := await self.data.receive():
                return piece
        if said := await self._said():
            raise ConnectionError(said)
        return b""

    async def _said(self) -> str:
        with suppress(ConnectionError):
            return (await self.error.receive()).decode(errors="replace")
        return ""

    def write(self, data: bytes) -> None:
        self.unsent += data
        self.news.set()

    async def drain(self) -> None:
        while len(self.unsent) > CHANNEL_BYTES_MAX and not self.sending.done():
            self.room.clear()
            await self.room.wait()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.no_more = True
        self.news.set()

    async def _send(self) -> None:
        try:
            while self.unsent or not self.no_more:
                self.news.clear()
                piece, self.unsent = bytes(self.unsent), bytearray()
                if piece:
                    await self.data.send(piece)
                self.room.set()
                if not self.unsent and not self.no_more:
                    await self.news.wait()
            await self.data.close()
        except ConnectionError:
            pass  # the reader is told
        finally:
            self.room.set()

    def close(self) -> None:
        self.sending.cancel()
        self.session.session.connection.close()


async def remote_port(url: str, port: int) -> PortConnection:
    session = Session(await session_of(url, SPDY_PROTOCOL))
    try:
        async with timeout(OPEN_SECONDS):
            names = {"port": str(port), "requestid": "0"}
            error, data = await session.open("error", **names), await session.open("data", **names)
            await error.close()
    except (ConnectionError, TimeoutError) as failed:
        await session.close()
        raise ConnectionError(f"the runtime's streaming server: {failed}") from failed
    return PortConnection(session, data, error)
