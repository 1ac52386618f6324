"""SPDY/3.1: frames by value, and sessions against each other."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.web.spdy import SpdySession
from kybern.web.spdy_frames import (
    DICTIONARY,
    FIN,
    GOAWAY,
    PING,
    RST_STREAM,
    SYN_REPLY,
    SYN_STREAM,
    WINDOW_UPDATE,
    Decoder,
    Encoder,
    Frame,
    SpdyError,
)


class End:
    """One end of a connection in memory."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: End = self

    async def receive(self) -> bytes:
        return await self.arrived.get()

    async def send(self, data: bytes) -> None:
        self.other.arrived.put_nowait(data)

    async def send_eof(self) -> None:
        self.other.arrived.put_nowait(b"")

    def close(self) -> None:
        self.other.arrived.put_nowait(b"")
        self.arrived.put_nowait(b"")


def ends() -> tuple[End, End]:
    a, b = End(), End()
    a.other, b.other = b, a
    return a, b


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[SpdySession, SpdySession]]:
    a, b = ends()
    client, server = SpdySession(a, server=False), SpdySession(b, server=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.run())
        group.create_task(server.run())
        yield client, server
        a.close()


def test_the_dictionary_is_that_of_spdy_3() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


headers = st.dictionaries(
    st.text("abcdefghij-", min_size=1, max_size=20),
    st.text(st.characters(max_codepoint=126, min_codepoint=32), max_size=50),
)
numbers = st.integers(1, 2**31 - 1)
frames = st.one_of(
    st.builds(Frame, st.none(), numbers, st.sampled_from([0, FIN]), data=st.binary(max_size=200)),
    st.builds(Frame, st.sampled_from([SYN_STREAM, SYN_REPLY, 8]), numbers, headers=headers),
    st.builds(Frame, st.sampled_from([RST_STREAM, GOAWAY, WINDOW_UPDATE]), numbers, number=numbers),
    st.builds(Frame, st.just(PING), number=numbers),
)


@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_what_is_encoded_is_decoded_however_it_is_cut(sent: list[Frame], cut: int) -> None:
    encoder, decoder = Encoder(), Decoder()
    raw = b"".join(map(encoder.encode, sent))
    received = [frame for at in range(0, len(raw), cut) for frame in decoder.feed(raw[at : at + cut])]
    assert [(f.kind, f.stream, f.number, f.data, dict(f.headers), f.fin) for f in received] == [
        (f.kind, f.stream, f.number, f.data, dict(f.headers), f.fin and f.kind is None) for f in sent
    ]


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    try:
        list(Decoder().feed(garbage))
    except SpdyError:
        pass


async def test_a_stream_carries_bytes_both_ways_and_half_closes() -> None:
    async with sessions() as (client, server):
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(client.open({"streamType": "data", "port": "80"}))
            theirs = await server.accept()
            assert theirs is not None and theirs.headers == {"streamtype": "data", "port": "80"}
            await theirs.reply()
            ours = await opening
        await ours.send(b"ping")
        await ours.close()
        assert [await theirs.receive(), await theirs.receive()] == [b"ping", b""]
        await theirs.send(b"pong")
        await theirs.close()
        assert [await ours.receive(), await ours.receive()] == [b"pong", b""]
        assert not client.streams and not server.streams


async def test_a_reset_stream_is_an_error_on_the_other_side() -> None:
    async with sessions() as (client, server):

        async def refuse() -> None:
            theirs = await server.accept()
            assert theirs is not None
            await theirs.reset()

        refused, _ = await asyncio.gather(client.open({"streamType": "x"}), refuse(), return_exceptions=True)
        assert isinstance(refused, ConnectionError)


async def test_more_than_a_window_goes_through_a_peer_that_sends_no_window_updates() -> None:
    a, b = ends()
    server = SpdySession(b, server=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        await a.send(Encoder().encode(Frame(SYN_STREAM, 1, headers={"streamtype": "stdout"})))
        stream = await server.accept()
        assert stream is not None
        await stream.send(bytes(1_000_000))
        await stream.close()
        decoder, size, ended = Decoder(), 0, False
        while not ended:
            for frame in decoder.feed(await a.receive()):
                size, ended = size + len(frame.data), ended or frame.fin
        assert size == 1_000_000
        a.close()


async def test_the_end_of_the_connection_ends_every_stream() -> None:
    async with sessions() as (client, server):
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(client.open({}))
            theirs = await server.accept()
            assert theirs is not None
            await theirs.reply()
            ours = await opening
        client.connection.close()
        for stream in (ours, theirs):
            with pytest.raises(ConnectionError):
                while await stream.receive():
                    pass
        assert await server.accept() is None


async def test_pings_are_answered() -> None:
    a, b = ends()
    async with asyncio.TaskGroup() as group:
        group.create_task(SpdySession(b, server=True).run())
        await a.send(Encoder().encode(Frame(PING, number=7)))
        assert list(Decoder().feed(await a.receive())) == [Frame(PING, number=7)]
        a.close()


@pytest.mark.parametrize("frame", [Frame(SYN_STREAM, 2), Frame(SYN_STREAM, 0)])
async def test_a_stream_out_of_order_ends_the_session(frame: Frame) -> None:
    a, b = ends()
    await a.send(Encoder().encode(frame))
    session = SpdySession(b, server=True)
    await session.run()
    assert [frame.kind for frame in Decoder().feed(await a.receive())] == [GOAWAY]
