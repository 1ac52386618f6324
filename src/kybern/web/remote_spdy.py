"""exec and attach over SPDY/3.1: one stream for each of error, stdin, stdout, stderr and resize.

The client names the versions it speaks in `X-Stream-Protocol-Version`, opens the streams, and each says what it is in
its header `streamType`. The command starts when all that were asked for are there.
"""

import asyncio
from contextlib import suppress

from kybern.aio.timeouts import timeout
from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.remote_command import RemoteCommand, Serve, Streams, serve_while
from kybern.web.spdy import SpdySession, SpdyStream

V1, V2, V3, V4 = "", "v2.channel.k8s.io", "v3.channel.k8s.io", "v4.channel.k8s.io"
VERSIONS = (V4, V3, V2, "channel.k8s.io")
STREAMS_SECONDS = 30.0  # How long a client may take to open its streams; upstream's limit.
FAREWELL_SECONDS = 1.0  # How long a client may take to read the end and to close.


def accept_over_spdy(request: Request, wanted: Streams, serve: Serve) -> Response:
    version = negotiate(request, VERSIONS)
    if version is None:
        return refusal(VERSIONS)

    async def takeover(connection: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            session = SpdySession(connection, server=True)
            reading = group.create_task(session.run())
            command = await gather(session, wanted, version or V1)
            if command is not None:
                await serve_while(reading, serve(command))
                await farewell(session, reading)
            connection.close()
            reading.cancel()

    return Upgrade(101, upgrade_headers(version), takeover=takeover)


async def farewell(session: SpdySession, reading: asyncio.Task[None]) -> None:
    """Closing at once could overtake what the client has yet to read; what it still sends is read by nobody."""
    for stream in session.streams.values():
        stream.ignore()
    with suppress(TimeoutError):
        async with timeout(FAREWELL_SECONDS):
            await asyncio.wait([reading])


async def gather(session: SpdySession, wanted: Streams, version: str) -> RemoteCommand | None:
    """The command once its streams are there; None when the client goes, takes too long, or asks for something else."""
    missing = stream_types(wanted, version)
    found: dict[str, SpdyStream] = {}
    try:
        async with timeout(STREAMS_SECONDS):
            while missing - found.keys():
                stream = await session.accept()
                if stream is None:
                    return None
                kind = stream.headers.get("streamtype", "")
                if kind not in missing or kind in found:
                    await stream.reset()
                    return None
                found[kind] = stream
                await stream.reply()
    except (TimeoutError, ConnectionError):
        return None
    return RemoteCommand(
        stdin=found.get("stdin"),
        stdout=found.get("stdout"),
        stderr=found.get("stderr"),
        resize=found.get("resize"),
        error=found["error"],
        speaks_status=version == V4,
    )


def stream_types(wanted: Streams, version: str) -> set[str]:
    types = {"error"} | {name for name in ("stdin", "stdout") if getattr(wanted, name)}
    if wanted.stderr and not wanted.tty:
        types.add("stderr")
    if wanted.tty and version in (V3, V4):
        types.add("resize")
    return types


def negotiate(request: Request, versions: tuple[str, ...]) -> str | None:
    """The first version of the client's that we speak; empty when it names none, None when we speak none of them."""
    header = request.headers.get("x-stream-protocol-version", "")
    offered = [version.strip() for version in header.split(",") if version.strip()]
    if not offered:
        return V1
    return next((version for version in offered if version in versions), None)


def upgrade_headers(version: str | None) -> dict[str, str]:
    headers = {"Upgrade": "SPDY/3.1"}
    return {**headers, "X-Stream-Protocol-Version": version} if version else headers


def refusal(versions: tuple[str, ...]) -> Response:
    headers = {"X-Accepted-Stream-Protocol-Versions": ", ".join(versions), "Content-Type": "text/plain"}
    return Response(
        403, headers, f"unable to upgrade: unable to negotiate protocol, server accepts {list(versions)}".encode()
    )
