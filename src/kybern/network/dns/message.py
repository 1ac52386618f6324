"""DNS messages as bytes: one question in, one answer out (RFC 1035, EDNS(0) by RFC 6891).

Only what a cluster's resolver needs: A, AAAA, CNAME, PTR, SRV, TXT and SOA; names are lower-case `bytes` labels joined
by dots, without the root's closing dot. Anything else about a message is refused, never guessed.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

HEADER = struct.Struct("!HHHHHH")
OPT = struct.Struct("!BHHBBHH")  # root, type, UDP size, upper bits of the code, version, flags, length
UDP_BYTES_MAX = 512  # without EDNS, RFC 1035 section 4.2.1
EDNS_BYTES_MAX = 1232  # what fits one packet everywhere; what we offer and the most we send over UDP
NAME_BYTES_MAX = 255
LABEL_BYTES_MAX = 63

RESPONSE = 0x8000
AUTHORITATIVE = 0x0400
TRUNCATED = 0x0200
RECURSION_DESIRED = 0x0100
RECURSION_AVAILABLE = 0x0080
OPCODE = 0x7800
KEPT = 0x0030  # Authentic Data, Checking Disabled: what an asker says of signatures, RFC 4035
SIGNED = 0x8000  # of an OPT record's flags: signatures are wanted too
CLASS_IN = 1


class Type(IntEnum):
    A = 1
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    ANY = 255


class Code(IntEnum):
    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Malformed(ValueError):
    """Bytes that are no DNS query."""


@dataclass(frozen=True, slots=True)
class Question:
    id: int
    flags: int
    name: bytes
    """Lower case."""
    type: int
    wire: bytes
    """The question section as it was sent, letter case and all: it is echoed (0x20 mixing relies on that)."""
    bytes_max: int
    """The longest answer that may be sent over UDP."""
    edns: bool = False
    version: int = 0
    """Of EDNS."""
    signed: bool = False
    """Whether signatures are wanted too."""


@dataclass(frozen=True, slots=True)
class Record:
    name: bytes
    type: int
    ttl: int
    data: bytes


def parse(packet: bytes) -> Question:
    """The one question of a query. Malformed where it is anything else."""
    if len(packet) < HEADER.size:
        raise Malformed("shorter than a header")
    ident, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if flags & RESPONSE or questions != 1 or answers or authorities:
        raise Malformed("not a query of one question")
    name, end = read_name(packet, HEADER.size)
    if end + 4 > len(packet):
        raise Malformed("cut off in the question")
    kind, klass = struct.unpack_from("!HH", packet, end)
    if klass not in (CLASS_IN, 255):
        raise Malformed("not class IN")
    wire = packet[HEADER.size : end + 4]
    opt = opt_of(packet, end + 4, additional)
    if opt is None:
        return Question(ident, flags, name, kind, wire, UDP_BYTES_MAX)
    size, version, signed = opt
    limit = max(UDP_BYTES_MAX, min(size, EDNS_BYTES_MAX))
    return Question(ident, flags, name, kind, wire, limit, edns=True, version=version, signed=signed)


def read_name(packet: bytes, offset: int) -> tuple[bytes, int]:
    """An uncompressed name, lower case, and the offset behind it (a query's question has nothing to point back to)."""
    labels = []
    start = offset
    while True:
        if offset >= len(packet):
            raise Malformed("cut off in a name")
        length = packet[offset]
        offset += 1
        if length == 0:
            break
        if length > LABEL_BYTES_MAX or offset + length > len(packet) or offset + length - start > NAME_BYTES_MAX:
            raise Malformed("a label too long")
        labels.append(packet[offset : offset + length])
        if b"." in labels[-1]:
            raise Malformed("a dot in a label")  # the name would be taken for another's, and so would its answer
        offset += length
    return b".".join(labels).lower(), offset


def opt_of(packet: bytes, offset: int, additional: int) -> tuple[int, int, bool] | None:
    """UDP size, version and whether signatures are wanted, of the OPT record, when the additional section begins with
    one (as every resolver sends it). Its options are not looked at."""
    if additional == 0 or offset + OPT.size > len(packet) or packet[offset] != 0:
        return None
    _, kind, size, _, version, flags, _ = OPT.unpack_from(packet, offset)
    return (size, version, bool(flags & SIGNED)) if kind == Type.OPT else None


def written_opt(question: Question, code: int = 0) -> bytes:
    flags = SIGNED if question.signed else 0
    return OPT.pack(0, Type.OPT, EDNS_BYTES_MAX, code >> 4, 0, flags, 0) if question.edns else b""


def answer(
    question: Question,
    records: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    code: Code = Code.NOERROR,
    *,
    authoritative: bool = True,
    bytes_max: int = 65535,
) -> bytes:
    """The answer's bytes; when that is more than `bytes_max`, as many records as fit, marked TRUNCATED."""
    flags = RESPONSE | RECURSION_AVAILABLE | (question.flags & (RECURSION_DESIRED | OPCODE)) | (code & 0xF)
    if authoritative:
        flags |= AUTHORITATIVE
    owner = {question.name: b"\xc0\x0c"}  # a pointer to the question's name
    body = b"".join(write_record(record, owner) for record in (*records, *authority))
    opt = written_opt(question, code)
    counts = (1, len(records), len(authority), 1 if opt else 0)
    packet = HEADER.pack(question.id, flags, *counts) + question.wire + body + opt
    if len(packet) <= bytes_max:
        return packet
    fitting = list(first(records, owner, bytes_max - HEADER.size - len(question.wire) - len(opt)))
    header = HEADER.pack(question.id, flags | TRUNCATED, 1, len(fitting), 0, 1 if opt else 0)
    return header + question.wire + b"".join(fitting) + opt


def cut(question: Question, data: bytes) -> bytes:
    """Of another server's answer that is too long for UDP what says so: it is to be asked for over TCP."""
    flags, opt = int.from_bytes(data[2:4]) | TRUNCATED, written_opt(question)
    return HEADER.pack(question.id, flags, 1, 0, 0, 1 if opt else 0) + question.wire + opt


def first(records: Sequence[Record], known: dict[bytes, bytes], bytes_max: int) -> Iterator[bytes]:
    """Those that fit, written."""
    for record in records:
        written = write_record(record, known)
        bytes_max -= len(written)
        if bytes_max < 0:
            return
        yield written


def write_record(record: Record, known: dict[bytes, bytes]) -> bytes:
    owner = known.get(record.name) or write_name(record.name)
    return owner + struct.pack("!HHIH", record.type, CLASS_IN, record.ttl, len(record.data)) + record.data


def write_name(name: bytes) -> bytes:
    return b"".join(bytes((len(label),)) + label for label in name.split(b".") if label) + b"\0"


def query(name: bytes, ident: int, kind: Type = Type.A) -> bytes:
    """A question to ask somebody else."""
    return HEADER.pack(ident, RECURSION_DESIRED, 1, 0, 0, 0) + write_name(name) + struct.pack("!HH", kind, CLASS_IN)


def forwarded(question: Question, ident: int) -> bytes:
    """The question to ask somebody else in the asker's stead, and nothing else of what he sent: options of his (his
    network, a cookie) would lead to an answer that is his alone, and it is kept for all."""
    opt = written_opt(question)
    flags = RECURSION_DESIRED | question.flags & KEPT
    return HEADER.pack(ident, flags, 1, 0, 0, 1 if opt else 0) + question.wire + opt


def failure(packet: bytes, code: Code) -> bytes:
    """An answer to bytes that could not be parsed: their id and opcode, nothing else. Empty when even that is missing."""
    if len(packet) < HEADER.size:
        return b""
    ident, flags = struct.unpack_from("!HH", packet)
    if flags & RESPONSE:
        return b""  # never answer an answer: two servers could go on forever
    return HEADER.pack(ident, RESPONSE | (flags & (OPCODE | RECURSION_DESIRED)) | code, 0, 0, 0, 0)


def address_record(name: bytes, address: str, ttl: int) -> Record:
    """A or AAAA, by the address' family."""
    if ":" in address:
        return Record(name, Type.AAAA, ttl, socket.inet_pton(socket.AF_INET6, address))
    return Record(name, Type.A, ttl, socket.inet_aton(address))


def name_record(name: bytes, kind: Type, target: bytes, ttl: int) -> Record:
    """CNAME or PTR."""
    return Record(name, kind, ttl, write_name(target))


def srv_record(name: bytes, port: int, target: bytes, ttl: int, weight: int = 100) -> Record:
    """RFC 2782; priority 0."""
    return Record(name, Type.SRV, ttl, struct.pack("!HHH", 0, weight, port) + write_name(target))


def txt_record(name: bytes, text: bytes, ttl: int) -> Record:
    return Record(name, Type.TXT, ttl, bytes((len(text),)) + text)


def soa_record(zone: bytes, ttl: int, serial: int) -> Record:
    """RFC 2308: its last number is how long a resolver may remember that a name does not exist."""
    names = write_name(b"ns.dns." + zone) + write_name(b"hostmaster." + zone)
    return Record(zone, Type.SOA, ttl, names + struct.pack("!IIIII", serial & 0xFFFFFFFF, 7200, 1800, 86400, ttl))
