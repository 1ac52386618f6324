"""Names that are not the cluster's: passed on to the machine's own resolvers, as the bytes they came in.

Each query gets a socket of its own, so its source port is random (RFC 5452), and the answer must carry the query's id
and question. Servers are tried in order; the time for all of them is bounded.
"""

import asyncio
from pathlib import Path
from typing import cast

from kybern.network.dns.message import HEADER

SERVER_SECONDS = 2.0
SERVERS_MAX = 3  # as in resolv.conf(5)
DNS_PORT = 53


def resolvers(text: str, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """The name servers that a resolv.conf(5) names, but for those that would lead back to us."""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and line[1] not in without]
    return tuple(found[:SERVERS_MAX])


def resolvers_of_host(path: Path = Path("/etc/resolv.conf"), without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    try:
        return resolvers(path.read_text(), without)
    except OSError:
        return ()


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self, query: bytes, done: asyncio.Future[bytes]) -> None:
        self.query, self.done = query, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self.query)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.done.done() and is_answer_to(self.query, data):
            self.done.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


def is_answer_to(query: bytes, data: bytes) -> bool:
    return len(data) >= HEADER.size and data[:2] == query[:2] and bool(data[2] & 0x80)


async def over_udp(query: bytes, server: str) -> bytes:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Exchange(query, done), remote_addr=(server, DNS_PORT))
    try:
        return await done
    finally:
        transport.close()


async def over_tcp(query: bytes, server: str) -> bytes:
    reader, writer = await asyncio.open_connection(server, DNS_PORT)
    try:
        writer.write(len(query).to_bytes(2) + query)
        await writer.drain()
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()


async def forward(query: bytes, servers: tuple[str, ...], *, tcp: bool) -> bytes | None:
    """The first answer; None when no server gave one in time."""
    for server in servers:
        try:
            async with asyncio.timeout(SERVER_SECONDS):
                return await (over_tcp if tcp else over_udp)(query, server)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
    return None
