"""Cluster DNS: records by the specification, and messages as dnspython reads them."""

import asyncio
import random
import socket
from functools import partial

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.network.dns.forward import Forwarder, Upstream, resolvers
from kybern.network.dns.message import Malformed, parse
from kybern.network.dns.records import Zone, service_records
from kybern.network.dns.server import Places, Resolver, answer_stream

WEB = Service(
    metadata=ObjectMeta(name="web", namespace="default"),
    spec=ServiceSpec(
        cluster_ip="10.96.0.9",
        cluster_ips=("10.96.0.9",),
        ports=(ServicePort(name="http", port=80, protocol="TCP"), ServicePort(name="", port=81)),
    ),
)
DB = Service(metadata=ObjectMeta(name="db", namespace="prod"), spec=ServiceSpec(cluster_ip="None"))
DB_SLICE = EndpointSlice(
    address_type="IPv4",
    ports=(EndpointPort(name="pg", port=5432, protocol="TCP"),),
    endpoints=(
        Endpoint(addresses=("10.244.0.5",), hostname="db-0"),
        Endpoint(addresses=("10.244.0.6",), conditions=EndpointConditions(ready=True)),
        Endpoint(addresses=("10.244.0.7",), conditions=EndpointConditions(ready=False)),
    ),
)
ALIAS = Service(
    metadata=ObjectMeta(name="alias", namespace="default"),
    spec=ServiceSpec(type="ExternalName", external_name="web.default.svc.cluster.local"),
)


@pytest.fixture
def resolver() -> Resolver:
    zone = Zone(b"cluster.local")
    for service, slices in ((WEB, ()), (DB, (DB_SLICE,)), (ALIAS, ())):
        assert service.metadata.namespace and service.metadata.name
        records = service_records(service, slices, zone.name)
        zone.replace(service.metadata.namespace, service.metadata.name, records)
    return Resolver(zone, Forwarder(Upstream(), lambda: 0.0), random.Random(1))


def ask(resolver: Resolver, name: str, kind: str, *, tcp: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    data = resolver.at_once(query.to_wire(), tcp=tcp)
    assert data is not None
    reply = dns.message.from_wire(data)
    assert query.is_response(reply)
    return reply


def texts(reply: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in reply.answer for item in rrset)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web.default.svc.cluster.local", "A", ["10.96.0.9"]),
        ("WEB.Default.svc.cluster.LOCAL", "A", ["10.96.0.9"]),
        ("_http._tcp.web.default.svc.cluster.local", "SRV", ["0 100 80 web.default.svc.cluster.local."]),
        ("9.0.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local."]),
        ("db.prod.svc.cluster.local", "A", ["10.244.0.5", "10.244.0.6"]),
        ("db-0.db.prod.svc.cluster.local", "A", ["10.244.0.5"]),
        ("10-244-0-6.db.prod.svc.cluster.local", "A", ["10.244.0.6"]),
        ("5.0.244.10.in-addr.arpa", "PTR", ["db-0.db.prod.svc.cluster.local."]),
        ("10-244-0-9.default.pod.cluster.local", "A", ["10.244.0.9"]),
        ("alias.default.svc.cluster.local", "A", ["10.96.0.9", "web.default.svc.cluster.local."]),
        ("dns-version.cluster.local", "TXT", ['"1.1.0"']),
    ],
)
def test_names_of_the_specification_resolve(resolver: Resolver, name: str, kind: str, expected: list[str]) -> None:
    reply = ask(resolver, name, kind)
    assert reply.rcode() == dns.rcode.NOERROR
    assert texts(reply) == expected
    assert reply.flags & dns.flags.AA


def test_a_headless_service_has_one_srv_record_per_ready_endpoint(resolver: Resolver) -> None:
    reply = ask(resolver, "_pg._tcp.db.prod.svc.cluster.local", "SRV")
    assert texts(reply) == [
        "0 100 5432 10-244-0-6.db.prod.svc.cluster.local.",
        "0 100 5432 db-0.db.prod.svc.cluster.local.",
    ]


@pytest.mark.parametrize("name", ["web.default.svc.cluster.local", "svc.cluster.local", "default.svc.cluster.local"])
def test_a_name_without_records_of_a_type_exists_all_the_same(resolver: Resolver, name: str) -> None:
    reply = ask(resolver, name, "AAAA")
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.answer == []
    assert reply.authority[0].rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize("name", ["nope.default.svc.cluster.local", "web.nope.svc.cluster.local", "x.cluster.local"])
def test_an_unknown_name_of_the_zone_does_not_exist(resolver: Resolver, name: str) -> None:
    reply = ask(resolver, name, "A")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].rdtype == dns.rdatatype.SOA


def test_a_service_that_is_gone_takes_its_names_with_it(resolver: Resolver) -> None:
    resolver.zone.replace("default", "web", ())
    assert ask(resolver, "web.default.svc.cluster.local", "A").rcode() == dns.rcode.NXDOMAIN
    assert b"9.0.96.10.in-addr.arpa" not in resolver.zone.records


def test_names_outside_the_zone_are_left_to_others(resolver: Resolver) -> None:
    query = dns.message.make_query("example.com", "A").to_wire()
    assert resolver.at_once(query, tcp=False) is None


async def test_without_an_upstream_other_names_fail_rather_than_hang(resolver: Resolver) -> None:
    query = dns.message.make_query("example.com", "A")
    reply = dns.message.from_wire(await resolver.elsewhere(query.to_wire(), tcp=False))
    assert reply.rcode() == dns.rcode.SERVFAIL


def with_endpoints(count: int) -> Resolver:
    zone = Zone(b"cluster.local")
    endpoints = tuple(Endpoint(addresses=(f"10.244.{i // 250}.{i % 250}",)) for i in range(count))
    piece = EndpointSlice(address_type="IPv4", endpoints=endpoints)
    zone.replace("prod", "db", service_records(DB, (piece,), zone.name))
    return Resolver(zone, Forwarder(Upstream(), lambda: 0.0), random.Random(1))


def test_an_answer_too_long_for_udp_is_truncated_and_whole_over_tcp() -> None:
    resolver = with_endpoints(199)
    short = ask(resolver, "db.prod.svc.cluster.local", "A")
    assert short.flags & dns.flags.TC
    assert 20 < len(texts(short)) < 40, "as many as fit: some resolvers never ask again by TCP"
    assert len(short.to_wire()) <= 512
    assert len(texts(ask(resolver, "db.prod.svc.cluster.local", "A", tcp=True))) == 199


def test_of_more_records_than_any_answer_holds_it_has_as_many_as_fit() -> None:
    found = ask(with_endpoints(5000), "db.prod.svc.cluster.local", "A", tcp=True)
    assert found.flags & dns.flags.TC and 4000 < len(texts(found)) < 4100


async def test_a_client_that_asks_and_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kybern.network.dns.server.TCP_IDLE_SECONDS", 0.1)
    query = dns.message.make_query("db.prod.svc.cluster.local", "A").to_wire()
    loop, resolver = asyncio.get_running_loop(), with_endpoints(5000)
    server = await asyncio.start_server(partial(answer_stream, resolver), "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, server.sockets[0].getsockname())
            with pytest.raises(ConnectionError):
                while True:
                    await loop.sock_sendall(client, len(query).to_bytes(2) + query)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 11,
        b"\0" * 12,
        b"\0\1\1\0\0\1\0\0\0\0\0\0\x40a",
        b"\xff" * 600,
        b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
        b"\0\1\1\0\0\1\0\0\0\0\0\0\1a\xc0\x0c\0\1\0\1",
        b"\0\1\1\0\0\1\0\0\0\0\0\0\5a.com\0\0\1\0\1",
    ],
)
def test_garbage_is_no_query(resolver: Resolver, packet: bytes) -> None:
    with pytest.raises(Malformed):
        parse(packet)
    assert resolver.at_once(packet, tcp=False) is not None


def test_any_cut_of_a_query_is_answered_or_refused_but_never_crashes(resolver: Resolver) -> None:
    wire = dns.message.make_query("web.default.svc.cluster.local", "A", use_edns=0).to_wire()
    for length in range(len(wire)):
        assert resolver.at_once(wire[:length], tcp=False) is not None


def test_nonsense_behind_the_question_changes_no_answer(resolver: Resolver) -> None:
    wire = dns.message.make_query("web.default.svc.cluster.local", "A").to_wire()
    for options in (b"\0\0\x29\0\0\0\0\0\0\xff\xff", b"\0\0\x29\xff\xff\xff\0\xff\xff\0\0", b"\xff" * 40):
        reply = resolver.at_once(wire[:11] + b"\1" + wire[12:] + options, tcp=False)
        assert reply is not None and texts(dns.message.from_wire(reply)) and len(reply) <= 512


def test_another_version_of_edns_is_refused_with_the_one_that_is_spoken(resolver: Resolver) -> None:
    for name in ("web.default.svc.cluster.local", "www.example.com"):
        query = dns.message.make_query(name, "A", use_edns=1)
        data = resolver.at_once(query.to_wire(), tcp=False)
        assert data is not None
        reply = dns.message.from_wire(data)
        assert reply.rcode() == dns.rcode.BADVERS and reply.edns == 0 and not reply.answer
        assert query.is_response(reply)


def test_a_client_that_opens_more_connections_than_its_share_gets_no_further_ones_and_others_do() -> None:
    places = Places()
    assert [places.take("10.244.0.2") for _ in range(40)] == [True] * 32 + [False] * 8
    assert places.take("10.244.0.3")
    places.give_back("10.244.0.2")
    assert places.take("10.244.0.2") and not places.take("10.244.0.2")
    assert not all(places.take(f"10.244.1.{number}") for number in range(250) for _ in range(4)), (
        "all together have a bound"
    )


def test_an_answer_is_never_answered(resolver: Resolver) -> None:
    reply = ask(resolver, "web.default.svc.cluster.local", "A").to_wire()
    assert resolver.at_once(reply, tcp=False) == b""


def test_a_resolver_never_forwards_to_itself() -> None:
    text = "# comment\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nsearch x\n"
    assert resolvers(text, frozenset({"10.96.0.10"})) == ("192.0.2.1",)
