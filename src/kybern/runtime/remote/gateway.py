"""The gateway: gRPC on one side, the agent on the other (descriptor 0). It knows no message and decides nothing.

    python -m kybern.runtime.remote.gateway dial unix:///run/containerd/containerd.sock
    python -m kybern.runtime.remote.gateway listen /run/kybern/cri.sock

`dial` carries the agent's calls to a runtime; `listen` carries others' calls to the agent. It ends when the agent does.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from kybern.runtime.remote.peer import FRAME_BYTES_MAX, Peer, RpcError, Serve

MESSAGE_BYTES_MAX = 16 << 20  # upstream's
OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.default_authority", "localhost"),  # servers in Go refuse the one that is made of a socket's path
    ("grpc.enable_http_proxy", 0),
)
CODES = {code.value[0]: code for code in grpc.StatusCode}


async def agent(serve: Serve | None = None) -> Peer:
    sock = socket.socket(fileno=0)
    reader, writer = await asyncio.open_connection(sock=sock, limit=FRAME_BYTES_MAX)
    return Peer(reader, writer, serve) if serve else Peer(reader, writer)


async def dial(target: str) -> None:
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:

        async def serve(path: str, body: bytes, seconds: float) -> AsyncIterator[bytes]:
            call = channel.unary_stream(path)(body, timeout=seconds or None)
            try:
                async for piece in call:
                    yield piece
            except grpc.aio.AioRpcError as error:
                raise RpcError(error.code().value[0], error.details() or "") from None
            finally:
                call.cancel()

        await (await agent(serve)).run()


class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every method is one that may answer with several pieces: on the wire one piece is no different."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def service(self, details: Any) -> Any:
        async def answer(body: bytes, context: Any) -> AsyncIterator[bytes]:
            try:
                async for piece in self.peer.stream(details.method, body, context.time_remaining() or 0.0):
                    yield piece
            except RpcError as error:
                await context.abort(CODES[error.code], error.message)

        return grpc.unary_stream_rpc_method_handler(answer)


async def listen(path: str) -> None:
    """On a socket that only its owner opens: who may talk to a runtime is root of its machine."""
    peer = await agent()
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Handlers(peer),))
    os.umask(0o177)
    directory, name = os.path.split(path)
    here = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=here)
    server.add_insecure_port(f"unix:/proc/self/fd/{here}/{name}")  # short, however long the directory's path
    await server.start()
    try:
        await peer.run()
    finally:
        await server.stop(1.0)


def main(arguments: Sequence[str]) -> None:
    what, where = arguments
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(dial(where) if what == "dial" else listen(where))


if __name__ == "__main__":
    main(sys.argv[1:])
