"""The DNS server of a node: UDP and TCP on one address, answers from a `Zone` that follows a View.

- A query for the cluster's zone is answered at once, in the callback that received it: no task, no await.
- Everything else is forwarded; at most FORWARDED_MAX at a time, further ones are refused rather than queued.
- Where strangers can send queries too, only the cluster's own clients are answered (`Clients`).
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import cast

from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Node, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.network.dns.forward import Forwarder
from kybern.network.dns.message import Code, Malformed, Question, Record, Type, answer, cut, failure, parse
from kybern.network.dns.records import Zone, service_records
from kybern.network.follow import EndpointSlices, Followed
from kybern.network.ipam import Address, Network
from kybern.network.peers import node_addresses

FORWARDED_MAX = 500
TCP_CONNECTIONS_MAX, TCP_CONNECTIONS_EACH_MAX = 512, 32
TCP_IDLE_SECONDS = 10.0
CLIENTS_REMEMBERED_MAX = 10_000


class ZoneFollower:
    """Keeps a Zone equal to what a View holds, one service at a time."""

    def __init__(self, view: Followed, zone: Zone) -> None:
        self.view, self.zone = view, zone
        self.slices = EndpointSlices()
        view.on_change(Service, self._service_changed)
        view.on_change(EndpointSlice, self._slice_changed)
        for piece in view.list(EndpointSlice):
            self.slices.replace(None, piece)
        for service in view.list(Service):
            self._service_changed(None, service)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        about = new or old
        assert about is not None
        self._refresh(about.metadata.namespace or "", about.metadata.name or "")

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for namespace, service in self.slices.replace(old, new):
            self._refresh(namespace, service)

    def _refresh(self, namespace: str, name: str) -> None:
        service = self.view.get(Service, name, namespace)
        slices = self.slices.of_service.get((namespace, name), [])
        records = tuple(service_records(service, slices, self.zone.name)) if service else ()
        if records != self.zone.of_service.get((namespace, name), ()):
            self.zone.replace(namespace, name, records)


class Resolver:
    """Query bytes to answer bytes, without sockets."""

    def __init__(self, zone: Zone, upstream: Forwarder, rng: random.Random) -> None:
        self.zone, self.upstream, self.rng = zone, upstream, rng
        self.forwarded = 0

    def at_once(self, packet: bytes, *, tcp: bool) -> bytes | None:
        """The answer where it needs nobody else; None for a name that has to be forwarded."""
        try:
            question = parse(packet)
        except Malformed:
            return failure(packet, Code.FORMERR)
        if question.flags & 0x7800:
            return answer(question, code=Code.NOTIMP, authoritative=False)
        if question.version:
            return answer(question, code=Code.BADVERS, authoritative=False)
        limit = 65535 if tcp else question.bytes_max
        if not self.zone.holds(question.name):
            known = self.upstream.known(question)
            return None if known is None else fitting(question, known, tcp=tcp)
        found = self.zone.find(question.name, question.type)
        if found is None:
            return answer(question, (), (self.zone.authority(),), Code.NXDOMAIN, bytes_max=limit)
        if not found:
            return answer(question, (), (self.zone.authority(),), bytes_max=limit)
        return answer(question, self._shuffled(found), bytes_max=limit)

    def _shuffled(self, records: list[Record]) -> list[Record]:
        """Addresses in a random order, so that clients which take the first spread out; an alias stays first."""
        if len(records) < 2 or records[0].type == Type.CNAME:
            return records
        return self.rng.sample(records, len(records))

    async def elsewhere(self, packet: bytes, *, tcp: bool) -> bytes:
        question = parse(packet)
        if self.forwarded >= FORWARDED_MAX:
            return answer(question, code=Code.REFUSED, authoritative=False)
        self.forwarded += 1
        try:
            found = await self.upstream.ask(question, self.rng.getrandbits(16), tcp=tcp)
        finally:
            self.forwarded -= 1
        if found is None:
            return answer(question, code=Code.SERVFAIL, authoritative=False)
        return fitting(question, found, tcp=tcp)


def fitting(question: Question, found: bytes, *, tcp: bool) -> bytes:
    return found if tcp or len(found) <= question.bytes_max else cut(question, found)


class Clients:
    """Who is answered, where anybody could send a query: pods and nodes. For all others this would be an open resolver."""

    def __init__(self, view: Followed, pod_cidrs: Sequence[Network]) -> None:
        self.view, self.pod_cidrs = view, pod_cidrs
        self.known: dict[str, bool] = {}
        view.on_change(Node, lambda old, new: self.known.clear())

    def __call__(self, address: str) -> bool:
        if len(self.known) > CLIENTS_REMEMBERED_MAX:
            self.known.clear()
        if (answered := self.known.get(address)) is None:
            answered = self.known[address] = self._is_ours(ip_address(address))
        return answered

    def _is_ours(self, address: Address) -> bool:
        of_pods = any(address.version == cidr.version and address in cidr for cidr in self.pod_cidrs)
        return of_pods or address.is_loopback or str(address) in node_addresses(self.view.list(Node))


class Places:
    """For connections: whoever opens more than his share gets no further ones, and nobody waits for one."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    def take(self, client: str) -> bool:
        free = self.taken[client] < TCP_CONNECTIONS_EACH_MAX and self.taken.total() < TCP_CONNECTIONS_MAX
        if free:
            self.taken[client] += 1
        return free

    def give_back(self, client: str) -> None:
        self.taken[client] -= 1
        if not self.taken[client]:
            del self.taken[client]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, resolver: Resolver, answered: Callable[[str], bool], tasks: asyncio.TaskGroup) -> None:
        self.resolver, self.answered, self.tasks = resolver, answered, tasks
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.answered(addr[0]):
            return
        ready = self.resolver.at_once(data, tcp=False)
        if ready is None:
            self.tasks.create_task(self._forwarded(data, addr))
        elif ready:
            self._send(ready, addr)

    async def _forwarded(self, data: bytes, addr: tuple[str, int]) -> None:
        self._send(await self.resolver.elsewhere(data, tcp=False), addr)

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.sendto(data, addr)


def everybody(_: str) -> bool:
    return True


async def serve(
    resolver: Resolver,
    address: str,
    port: int,
    answered: Callable[[str], bool] = everybody,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer on one address until cancelled; `ready` is called once both sockets are bound."""
    loop = asyncio.get_running_loop()
    places = Places()
    async with asyncio.TaskGroup() as tasks:
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(resolver, answered, tasks), local_addr=(address, port)
        )

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = (writer.get_extra_info("peername") or ("",))[0]
            if not client or not answered(client) or not places.take(client):
                writer.close()
                return
            try:
                await answer_stream(resolver, reader, writer)
            finally:
                places.give_back(client)

        try:
            server = await asyncio.start_server(connected, address, port)
            async with server:
                ready()
                await server.serve_forever()
        finally:
            transport.close()


async def answer_stream(resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Queries over TCP, one after the other (RFC 7766), until the client is idle or gone."""
    try:
        while True:
            async with timeout(TCP_IDLE_SECONDS):
                query = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
            reply = resolver.at_once(query, tcp=True)
            if reply is None:
                reply = await resolver.elsewhere(query, tcp=True)
            writer.write(len(reply).to_bytes(2) + reply)
            async with timeout(TCP_IDLE_SECONDS):
                await writer.drain()
    except TimeoutError:
        writer.transport.abort()  # it asks nothing more, or does not read: what is for it would wait forever
    except (asyncio.IncompleteReadError, OSError):
        pass  # the client went away
    finally:
        writer.close()
