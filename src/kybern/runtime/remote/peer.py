"""Calls between an agent and its gateway, in both directions over one socket: who is asked answers with pieces.

    Call(number, path, body, seconds)  ──►
                                       ◄──  Piece(number, body)  any number of them
                                       ◄──  Done(number, code, message)
    Cancel(number)                     ──►  instead of waiting on

`path` is gRPC's (`/runtime.v1.RuntimeService/Version`), bodies are encoded messages, codes are gRPC's. A frame is its
length in four bytes and MessagePack.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import count
from typing import Any

import msgspec

FRAME_BYTES_MAX = 64 << 20  # a list of everything on a full node, and room
PIECES_MAX = 10_000  # of one answer, waiting to be read
CALLS_MAX = 1_000  # answered at once

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = 0, 1, 2, 3, 4, 5, 6
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 12, 13, 14
NAMES = (
    "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted "
    "FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated"
)

log = logging.getLogger(__name__)


class RpcError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"rpc error: code = {NAMES.split()[code]} desc = {message}")
        self.code, self.message = code, message


class Call(msgspec.Struct, array_like=True, tag=1, frozen=True):
    number: int
    path: str
    body: bytes
    seconds: float


class Piece(msgspec.Struct, array_like=True, tag=2, frozen=True):
    number: int
    body: bytes


class Done(msgspec.Struct, array_like=True, tag=3, frozen=True):
    number: int
    code: int
    message: str


class Cancel(msgspec.Struct, array_like=True, tag=4, frozen=True):
    number: int


Frame = Call | Piece | Done | Cancel
Serve = Callable[[str, bytes, float], AsyncIterator[bytes]]
"""Answers a call piece by piece, or raises RpcError. Seconds are what is left for it; 0 for no end."""


async def no_calls(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
    raise RpcError(UNIMPLEMENTED, f"unknown method {path}")
    yield b""  # what makes it a generator


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve = no_calls) -> None:
        self.reader, self.writer, self.serve = reader, writer, serve
        self.numbers = count(1)
        self.waiting: dict[int, asyncio.Queue[Piece | Done]] = {}
        self.answering: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the other end is gone; then every call has failed."""
        decoder = msgspec.msgpack.Decoder(Frame)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    length = int.from_bytes(await self.reader.readexactly(4), "big")
                    if length > FRAME_BYTES_MAX:
                        break
                    self._take(decoder.decode(await self.reader.readexactly(length)), tasks.create_task)
                for task in self.answering.values():
                    task.cancel()
        except* (OSError, EOFError):
            pass
        finally:
            self.writer.close()
            for number, pieces in self.waiting.items():
                _put(pieces, Done(number, UNAVAILABLE, "the connection was lost"))

    def _take(self, frame: Frame, start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        match frame:
            case Call() if len(self.answering) >= CALLS_MAX:
                self._write(Done(frame.number, RESOURCE_EXHAUSTED, "too many calls at once"))
            case Call():
                self.answering[frame.number] = start(self._answer(frame))
            case Cancel():
                if (task := self.answering.pop(frame.number, None)) is not None:
                    task.cancel()
            case Piece() | Done():
                if (pieces := self.waiting.get(frame.number)) is not None:
                    _put(pieces, frame)

    async def _answer(self, call: Call) -> None:
        code, message = OK, ""
        try:
            async for body in self.serve(call.path, call.body, call.seconds):
                await self._send(Piece(call.number, body))
        except RpcError as error:
            code, message = error.code, error.message
        except asyncio.CancelledError:
            code, message = CANCELLED, "context canceled"
        except Exception as error:
            log.error("%s failed", call.path, exc_info=error)
            code, message = INTERNAL, "internal error"
        finally:
            self.answering.pop(call.number, None)
            self._write(Done(call.number, code, message))

    async def call(self, path: str, body: bytes, seconds: float) -> bytes:
        """The only piece of the answer. RpcError."""
        answer: bytes | None = None
        async for piece in self.stream(path, body, seconds):
            answer = piece
        if answer is None:
            raise RpcError(INTERNAL, f"{path} was answered with nothing")
        return answer

    async def stream(self, path: str, body: bytes, seconds: float = 0.0) -> AsyncIterator[bytes]:
        if self.writer.is_closing():
            await asyncio.sleep(0)  # who asks again at once would keep the loop from ever seeing to the end
            raise RpcError(UNAVAILABLE, "the connection was lost")
        number = next(self.numbers)
        pieces: asyncio.Queue[Piece | Done] = asyncio.Queue(PIECES_MAX)
        self.waiting[number] = pieces
        done = False
        try:
            await self._send(Call(number, path, body, seconds))
            while not done:
                match await pieces.get():
                    case Piece(body=found):
                        yield found
                    case Done(code=code, message=message):
                        done = True
                        if code != OK:
                            raise RpcError(code, message)
        finally:
            del self.waiting[number]
            if not done:
                self._write(Cancel(number))

    async def _send(self, frame: Frame) -> None:
        self._write(frame)
        try:
            await self.writer.drain()
        except ConnectionError as error:
            raise RpcError(UNAVAILABLE, "the connection was lost") from error

    def _write(self, frame: Frame) -> None:
        if not self.writer.is_closing():
            body = msgspec.msgpack.encode(frame)
            self.writer.write(len(body).to_bytes(4, "big") + body)


def _put(pieces: "asyncio.Queue[Piece | Done]", frame: Piece | Done) -> None:
    """An answer that nobody reads ends: its last word takes the place of what was not read."""
    if pieces.full():
        while not pieces.empty():
            pieces.get_nowait()
        frame = Done(frame.number, RESOURCE_EXHAUSTED, "the answer was not read in time")
    pieces.put_nowait(frame)
