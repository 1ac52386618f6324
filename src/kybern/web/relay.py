"""Bytes between two connections, both ways, until both directions have ended.

The end of one direction is passed on as a half-close and leaves the other direction open, where the transport can do
that; otherwise it ends both. A slow receiver slows its sender: nothing is stored between them.
"""

import asyncio

from kybern.web.http import Connection


async def relay(a: Connection, b: Connection) -> None:
    """Closes both connections when it returns."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(a, b))
            group.create_task(pump(b, a))
    except* ConnectionError:
        pass  # One side is gone, and with it the reason for the other.
    finally:
        a.close()
        b.close()


async def pump(source: Connection, sink: Connection) -> None:
    while data := await source.receive():
        await sink.send(data)
    await sink.send_eof()
