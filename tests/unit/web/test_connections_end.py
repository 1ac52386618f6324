"""What a connection had is gone with it: no cycle of references keeps its buffers until somebody collects garbage."""

import asyncio
import gc
import ssl
import weakref
from contextlib import suppress

from kybern.web.http import Request, Response
from kybern.web.limits import DEFAULT_LIMITS, Limits
from kybern.web.pki import SERVER, create_ca, issue
from kybern.web.server import Server, serve
from kybern.web.tls import server_context

NOW = 1_700_000_000.0


async def answer(request: Request) -> Response:
    return Response(200, {}, b"x")


async def over_tls(limits: Limits = DEFAULT_LIMITS) -> Server:
    ca = create_ca("ca", NOW)
    pair = issue(ca, "server", now=NOW, dns_names=["localhost"], usages=(SERVER,))
    context = server_context(pair.certificate, pair.key, client_ca=ca.certificate)
    return await serve(answer, ssl=context, limits=limits)


async def test_who_says_nothing_before_tls_is_cut() -> None:
    server = await over_tls(Limits(handshake_seconds=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    with suppress(ConnectionResetError):
        assert await reader.read() == b""
    writer.close()
    await server.close()


def test_hundreds_who_come_at_once_have_upstreams_time_for_tls() -> None:
    """Shaking hands with seven hundred takes a busy machine more than ten seconds."""
    assert DEFAULT_LIMITS.handshake_seconds == DEFAULT_LIMITS.head_seconds == 32.0


async def test_a_connection_leaves_nothing_behind() -> None:
    server = await over_tls()
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    gc.collect()
    gc.disable()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trusting)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\nx")
        [gone] = [weakref.ref(connection) for connection in server.connections]
        writer.close()
        while server.connections:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert gone() is None
    finally:
        gc.enable()
        await server.close()
