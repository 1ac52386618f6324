"""Answers of other servers, kept as long as they say: positive ones by their shortest TTL, negative ones by their SOA
(RFC 2308). What is given again carries the time that is left, the asker's id, and the letters' case as it was asked.

Only whole answers to one question are kept: nothing that was cut, failed, or cannot be read.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from kybern.network.dns.message import HEADER, KEPT, RESPONSE, TRUNCATED, Code, Question, Type

ENTRIES_MAX = 10_000
POSITIVE_SECONDS_MAX = 3600
NEGATIVE_SECONDS_MAX = 300
RECORD = struct.Struct("!HHIH")

Key = tuple[bytes, int, bool, bool, int]


@dataclass(frozen=True, slots=True)
class Kept:
    data: bytes
    question_bytes: int
    ttl_offsets: tuple[tuple[int, int], ...]
    """Where a TTL is, and what it was."""
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """A record of an answer, as far as a cache needs it."""

    section: int
    """0 answers, 1 authority, 2 additional."""
    type: int
    ttl: int
    ttl_offset: int
    data: bytes


class Answers:
    def __init__(self) -> None:
        self.kept: OrderedDict[Key, Kept] = OrderedDict()

    def get(self, question: Question, now: float) -> bytes | None:
        key = key_of(question)
        kept = self.kept.get(key)
        if kept is None:
            return None
        age = now - kept.since
        if age >= kept.seconds:
            del self.kept[key]
            return None
        self.kept.move_to_end(key)
        data = bytearray(kept.data)
        data[:2] = question.id.to_bytes(2)
        data[HEADER.size : HEADER.size + kept.question_bytes] = question.wire
        for offset, ttl in kept.ttl_offsets:
            data[offset : offset + 4] = max(0, ttl - int(age)).to_bytes(4)
        return bytes(data)

    def put(self, question: Question, data: bytes, now: float) -> None:
        seconds, offsets = lifetime(data, len(question.wire))
        if seconds <= 0:
            return
        self.kept[key_of(question)] = Kept(data, len(question.wire), offsets, now, seconds)
        while len(self.kept) > ENTRIES_MAX:
            self.kept.popitem(last=False)


def key_of(question: Question) -> Key:
    return question.name, question.type, question.edns, question.signed, question.flags & KEPT


def lifetime(data: bytes, question_bytes: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """For how many seconds an answer may be kept, 0 for not at all; and where its TTLs are."""
    if len(data) < HEADER.size:
        return 0, ()
    _, flags, questions, *_ = HEADER.unpack_from(data)
    code = flags & 0xF
    if not flags & RESPONSE or flags & TRUNCATED or questions != 1 or code not in (Code.NOERROR, Code.NXDOMAIN):
        return 0, ()
    try:
        records = list(records_of(data, HEADER.size + question_bytes))
    except (IndexError, struct.error):
        return 0, ()
    offsets = tuple((found.ttl_offset, found.ttl) for found in records if found.type != Type.OPT)
    answers = [found.ttl for found in records if found.section == 0]
    if answers and code == Code.NOERROR:
        return min(*answers, POSITIVE_SECONDS_MAX), offsets
    negative = [
        min(found.ttl, int.from_bytes(found.data[-4:]))
        for found in records
        if found.section == 1 and found.type == Type.SOA and len(found.data) >= 22
    ]
    return (min(*negative, NEGATIVE_SECONDS_MAX) if negative else 0), offsets


def records_of(data: bytes, offset: int) -> Iterator[Found]:
    for section, count in enumerate(HEADER.unpack_from(data)[3:]):
        for _ in range(count):
            offset = after_name(data, offset)
            kind, _, ttl, length = RECORD.unpack_from(data, offset)
            start = offset + RECORD.size
            if start + length > len(data):
                raise IndexError("cut off in a record")
            yield Found(section, kind, ttl, offset + 4, data[start : start + length])
            offset = start + length


def after_name(data: bytes, offset: int) -> int:
    """Behind a name, which may end with a pointer."""
    while True:
        length = data[offset]
        if length >= 0xC0:
            return offset + 2
        offset += 1 + length
        if length == 0:
            return offset
