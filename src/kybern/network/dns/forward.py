"""Names that are not the cluster's: the machine's own resolvers are asked in the asker's stead.

Each query gets a socket of its own, so its source port is random (RFC 5452), and the answer must carry the query's id
and question. Servers are tried in order; the time for all of them is bounded. What is known is not asked again, what is
being asked is asked once, and names of a stub domain go to that domain's servers.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from kybern.aio.timeouts import timeout
from kybern.network.dns.answers import Answers, Key, key_of
from kybern.network.dns.message import HEADER, Question, forwarded, read_name

SERVER_SECONDS = 2.0
SERVERS_MAX = 3  # as in resolv.conf(5)
DNS_PORT = 53
STUB_DOMAINS, UPSTREAM = "stubDomains", "upstreamNameservers"

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who is asked for what is not the cluster's."""

    servers: tuple[str, ...] = ()
    stub_domains: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)
    """Zone → its own servers."""

    def servers_of(self, name: bytes) -> tuple[str, ...]:
        """Those of the longest stub domain that the name is in."""
        while name:
            if name in self.stub_domains:
                return self.stub_domains[name]
            _, _, name = name.partition(b".")
        return self.servers


def configured(data: Mapping[str, str], servers: tuple[str, ...]) -> Upstream:
    """As the ConfigMap kube-system/kube-dns says, by the keys that upstream's kube-dns had; `servers` are the machine's
    own. A key that cannot be read is left out, and said."""
    stubs = read(data, STUB_DOMAINS, lambda found: {
        name.strip(".").lower().encode(): addresses(listed) for name, listed in found.items()
    })  # fmt: skip
    return Upstream(read(data, UPSTREAM, addresses) or servers, stubs or {})


def read(data: Mapping[str, str], key: str, use: Callable[[Any], Any]) -> Any:
    if key not in data:
        return None
    try:
        return use(json.loads(data[key]))
    except (ValueError, TypeError, AttributeError) as error:
        log.error("ConfigMap kube-system/kube-dns: %s is ignored: %s", key, error)
        return None


def addresses(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise ValueError(f"{listed!r} is no list of addresses")
    return tuple(str(ip_address(each)) for each in listed[:SERVERS_MAX])


class Forwarder:
    def __init__(self, upstream: Upstream, now: Callable[[], float]) -> None:
        self.upstream, self.now = upstream, now
        self.answers = Answers()
        self.asked: dict[tuple[Key, bool], asyncio.Future[bytes | None]] = {}

    def use(self, upstream: Upstream) -> None:
        if upstream != self.upstream:
            self.upstream, self.answers = upstream, Answers()

    def known(self, question: Question) -> bytes | None:
        return self.answers.get(question, self.now())

    async def ask(self, question: Question, ident: int, *, tcp: bool) -> bytes | None:
        """`ident`: one that nobody can guess. Whoever asks the same meanwhile waits for the same answer. None when no server gave one in time."""
        key = (key_of(question), tcp)
        if (running := self.asked.get(key)) is not None:
            found = await asyncio.shield(running)
        else:
            running = self.asked[key] = asyncio.get_running_loop().create_future()
            found = None
            try:
                found = await forward(forwarded(question, ident), self.upstream.servers_of(question.name), tcp=tcp)
            finally:
                del self.asked[key]
                running.set_result(found)
            if found is not None:
                self.answers.put(question, found, self.now())
        return None if found is None else question.id.to_bytes(2) + found[2:]


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
    """To this very question; a server that could not read it may leave it out of its refusal."""
    if len(data) < HEADER.size or data[:2] != query[:2] or not data[2] & 0x80:
        return False
    if data[4:6] == b"\0\0":
        return bool(data[3] & 0xF)
    end = read_name(query, HEADER.size)[1]
    same_name = data[HEADER.size : end].lower() == query[HEADER.size : end].lower()
    return same_name and data[end : end + 4] == query[end : end + 4]


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
            async with timeout(SERVER_SECONDS):
                return await (over_tcp if tcp else over_udp)(query, server)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            continue
    return None
