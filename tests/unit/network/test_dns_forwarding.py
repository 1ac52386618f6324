"""Names of others: kept as long as their servers say, asked for once, and sent to the servers of their domain."""

import asyncio
import random
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from kybern.network.dns import forward
from kybern.network.dns.answers import lifetime
from kybern.network.dns.forward import Forwarder, Upstream, configured, is_answer_to
from kybern.network.dns.records import Zone
from kybern.network.dns.server import Resolver


class Others:
    """The servers that are forwarded to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked, self.ttl, self.code = 0.0, [], 60, dns.rcode.NOERROR
        monkeypatch.setattr(forward, "over_udp", self.answer)
        self.forwarder = Forwarder(Upstream(("192.0.2.1",), {b"corp.example": ("192.0.2.9",)}), lambda: self.now)
        self.resolver = Resolver(Zone(b"cluster.local"), self.forwarder, random.Random(1))

    async def answer(self, packet: bytes, server: str) -> bytes:
        await asyncio.sleep(0)
        query = dns.message.from_wire(packet)
        name = query.question[0].name
        self.asked.append((str(name), server))
        reply = dns.message.make_response(query)
        reply.set_rcode(self.code)
        if self.code == dns.rcode.NOERROR:
            reply.answer.append(dns.rrset.from_text(name, self.ttl, "IN", "A", "198.51.100.7"))
        else:
            reply.authority.append(
                dns.rrset.from_text("example.", 900, "IN", "SOA", f"ns.example. h.example. 1 2 3 4 {self.ttl}")
            )
        return reply.to_wire()

    async def resolve(self, name: str) -> dns.message.Message:
        packet = dns.message.make_query(name, "A").to_wire()
        found = self.resolver.at_once(packet, tcp=False)
        reply = dns.message.from_wire(found if found is not None else await self.resolver.elsewhere(packet, tcp=False))
        assert reply.id == int.from_bytes(packet[:2]) and str(reply.question[0].name) == name
        return reply


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Others:
    return Others(monkeypatch)


async def test_an_answer_is_kept_for_its_ttl_with_the_time_that_is_left(others: Others) -> None:
    await others.resolve("www.example.com.")
    others.now = 20.0
    again = await others.resolve("WWW.example.com.")
    assert again.answer[0].ttl == 40 and len(others.asked) == 1
    others.now = 61.0
    await others.resolve("www.example.com.")
    assert len(others.asked) == 2


async def test_that_a_name_does_not_exist_is_kept_as_long_as_its_soa_says(others: Others) -> None:
    others.code, others.ttl = dns.rcode.NXDOMAIN, 30
    for now, asked in ((0.0, 1), (29.0, 1), (31.0, 2)):
        others.now = now
        assert (await others.resolve("nothing.example.")).rcode() == dns.rcode.NXDOMAIN
        assert len(others.asked) == asked


async def test_a_failure_is_not_kept(others: Others) -> None:
    others.code = dns.rcode.SERVFAIL
    for _ in range(2):
        await others.resolve("www.example.com.")
    assert len(others.asked) == 2


async def test_many_who_ask_the_same_at_once_are_one_question(others: Others) -> None:
    async with asyncio.TaskGroup() as tasks:
        found = [tasks.create_task(others.resolve("www.example.com.")) for _ in range(20)]
    assert len(others.asked) == 1 and all(task.result().answer for task in found)


async def test_names_of_a_stub_domain_go_to_its_own_servers(others: Others) -> None:
    for name in ("corp.example.", "a.b.corp.example.", "notcorp.example."):
        await others.resolve(name)
    assert [server for _, server in others.asked] == ["192.0.2.9", "192.0.2.9", "192.0.2.1"]


def test_the_settings_are_those_of_upstreams_kube_dns_and_a_bad_one_is_left_out() -> None:
    data = {"stubDomains": '{"Acme.local": ["1.2.3.4"]}', "upstreamNameservers": '["8.8.8.8", "2001:db8::1"]'}
    found = configured(data, ("192.0.2.1",))
    assert found == Upstream(("8.8.8.8", "2001:db8::1"), {b"acme.local": ("1.2.3.4",)})
    bad = {"stubDomains": '["x"]', "upstreamNameservers": '["no address"]'}
    assert configured(bad, ("192.0.2.1",)) == Upstream(("192.0.2.1",), {})


def test_an_answer_that_is_cut_off_anywhere_is_not_kept_and_breaks_nothing() -> None:
    query = dns.message.make_query("a.example.", "A")
    reply = dns.message.make_response(query)
    reply.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "A", "198.51.100.7", "198.51.100.8"))
    wire, question = reply.to_wire(), len(query.to_wire()) - 12
    assert lifetime(wire, question)[0] == 60
    assert {lifetime(wire[:length], question)[0] for length in range(len(wire))} == {0}


async def test_an_id_that_the_asker_chose_is_not_passed_on(others: Others, monkeypatch: pytest.MonkeyPatch) -> None:
    ids: set[int] = set()

    async def answer(packet: bytes, server: str) -> bytes:
        ids.add(int.from_bytes(packet[:2]))
        return await others.answer(packet, server)

    monkeypatch.setattr(forward, "over_udp", answer)
    for number in range(8):
        packet = dns.message.make_query(f"a{number}.example.com", "A", id=7).to_wire()
        reply = await others.resolver.elsewhere(packet, tcp=False)
        assert reply[:2] == packet[:2]
    assert len(ids) > 4


async def test_what_an_asker_says_of_himself_is_not_passed_on_and_what_he_says_of_signatures_is(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dns.message.Message] = []

    async def answer(packet: bytes, server: str) -> bytes:
        sent.append(dns.message.from_wire(packet))
        return await others.answer(packet, server)

    async def resolve(**how: Any) -> None:
        query = dns.message.make_query("WWW.example.com.", "A", **how)
        packet = query.to_wire()
        reply = others.resolver.at_once(packet, tcp=False) or await others.resolver.elsewhere(packet, tcp=False)
        assert query.is_response(dns.message.from_wire(reply))

    monkeypatch.setattr(forward, "over_udp", answer)
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"12345678")
    await resolve(options=[dns.edns.ECSOption("198.51.100.0", 24), cookie], payload=4096)
    assert sent[0].options == () and sent[0].edns == 0 and sent[0].payload == 1232
    assert str(sent[0].question[0].name) == "WWW.example.com."
    await resolve(use_edns=0)
    assert len(sent) == 1, "an answer that is for all is kept for all"
    await resolve(want_dnssec=True)
    await resolve(use_edns=0, flags=dns.flags.RD | dns.flags.CD)
    assert len(sent) == 3 and sent[1].ednsflags & dns.flags.DO and sent[2].flags & dns.flags.CD


async def test_an_answer_too_long_for_its_asker_is_to_be_asked_for_over_tcp(
    others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(packet: bytes, server: str) -> bytes:
        reply = dns.message.from_wire(await others.answer(packet, server))
        addresses = [f"198.51.100.{number}" for number in range(50)]
        reply.answer = [dns.rrset.from_text(reply.question[0].name, 60, "IN", "A", *addresses)]
        return reply.to_wire()

    monkeypatch.setattr(forward, "over_udp", answer)
    for payload, truncated in ((600, True), (1232, False), (600, True)):
        packet = dns.message.make_query("www.example.com.", "A", use_edns=0, payload=payload).to_wire()
        found = others.resolver.at_once(packet, tcp=False) or await others.resolver.elsewhere(packet, tcp=False)
        reply = dns.message.from_wire(found)
        assert len(found) <= payload and bool(reply.flags & dns.flags.TC) is truncated
        assert reply.id == int.from_bytes(packet[:2])
    assert len(others.asked) == 1, "the whole answer is known"


def test_what_answers_another_question_is_no_answer() -> None:
    query = dns.message.make_query("a.example.com", "A", id=7)
    reply = dns.message.make_response(query)
    assert is_answer_to(query.to_wire(), reply.to_wire())
    for name, kind, ident in (("b.example.com", "A", 7), ("a.example.com", "AAAA", 7), ("a.example.com", "A", 8)):
        other = dns.message.make_response(dns.message.make_query(name, kind, id=ident))
        assert not is_answer_to(query.to_wire(), other.to_wire())
    bare = reply.to_wire()[:4] + bytes(8)
    assert not is_answer_to(query.to_wire(), bare)
    assert is_answer_to(query.to_wire(), bare[:3] + b"\1" + bare[4:]), "who could not read it refuses it without"
