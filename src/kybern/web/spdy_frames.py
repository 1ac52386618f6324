"""SPDY/3.1 frames, as far as Kubernetes uses them: values to bytes and bytes to values, without any I/O.

Headers are compressed with one zlib stream per direction that starts from SPDY/3's dictionary, so they must be encoded
in the order they are sent and decoded in the order they came.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

VERSION = 3
FRAME_BYTES_MAX = 4 * 1024 * 1024
HEADERS_BYTES_MAX = 64 * 1024  # Decompressed.
FIN = 0x01

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, INTERNAL_ERROR = 1, 2, 3, 5, 6

WORDS = (  # SPDY/3 section 2.6.10.1: each with its length in front.
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow"
    " authorization cache-control connection content-base content-encoding content-language content-length"
    " content-location content-md5 content-range content-type date etag expect expires from host if-match"
    " if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma"
    " proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade"
    " user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie"
    " keep-alive origin"
)
REST = (  # Behind them, as one text.
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(struct.pack("!I", len(word)) + word.replace("_", " ").encode() for word in WORDS.split(" "))
    + REST.encode()
)


class SpdyError(Exception):
    """What came is not SPDY/3.1, or more of it than is allowed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`kind` is None for data. Only the fields that the kind has are set."""

    kind: int | None
    stream: int = 0
    flags: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""
    number: int = 0
    """RST_STREAM and GOAWAY: the status. WINDOW_UPDATE: the delta. PING: its id."""

    @property
    def fin(self) -> bool:
        return bool(self.flags & FIN)


class Encoder:
    def __init__(self) -> None:
        self.zlib = zlib.compressobj(zdict=DICTIONARY)

    def encode(self, frame: Frame) -> bytes:
        if frame.kind is None:
            return struct.pack("!II", frame.stream, frame.flags << 24 | len(frame.data)) + frame.data
        payload = self.payload(frame)
        return struct.pack("!HHI", 0x8000 | VERSION, frame.kind, frame.flags << 24 | len(payload)) + payload

    def payload(self, frame: Frame) -> bytes:
        match frame.kind:
            case 1:  # SYN_STREAM
                return struct.pack("!IIH", frame.stream, 0, 0) + self.block(frame.headers)
            case 2 | 8:  # SYN_REPLY, HEADERS
                return struct.pack("!I", frame.stream) + self.block(frame.headers)
            case 3 | 7 | 9:  # RST_STREAM, GOAWAY, WINDOW_UPDATE
                return struct.pack("!II", frame.stream, frame.number)
            case 6:  # PING
                return struct.pack("!I", frame.number)
        raise ValueError(f"cannot encode frames of kind {frame.kind}")

    def block(self, headers: Mapping[str, str]) -> bytes:
        pieces = [struct.pack("!I", len(headers))]
        for text in (text for name, value in headers.items() for text in (name.lower(), value)):
            encoded = text.encode("latin-1", "replace")
            pieces.append(struct.pack("!I", len(encoded)) + encoded)
        return self.zlib.compress(b"".join(pieces)) + self.zlib.flush(zlib.Z_SYNC_FLUSH)


class Decoder:
    def __init__(self) -> None:
        self.zlib = zlib.decompressobj(zdict=DICTIONARY)
        self.buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now; frames of kinds that we do not know are left out."""
        self.buffer += data
        while len(self.buffer) >= 8:
            first, rest = struct.unpack_from("!II", self.buffer)
            length = rest & 0xFFFFFF
            if length > FRAME_BYTES_MAX:
                raise SpdyError(f"a frame of {length} bytes")
            if len(self.buffer) < 8 + length:
                return
            payload = bytes(self.buffer[8 : 8 + length])
            del self.buffer[: 8 + length]
            if not first & 0x80000000:
                yield Frame(None, stream=first, flags=rest >> 24, data=payload)
            elif (first >> 16) & 0x7FFF != VERSION:
                raise SpdyError(f"version {(first >> 16) & 0x7FFF} of SPDY")
            else:
                frame = self.control(first & 0xFFFF, rest >> 24, payload)
                if frame is not None:
                    yield frame

    def control(self, kind: int, flags: int, payload: bytes) -> Frame | None:
        try:
            match kind:
                case 1:  # SYN_STREAM
                    (stream,) = struct.unpack_from("!I", payload)
                    return Frame(kind, stream & 0x7FFFFFFF, flags, self.headers(payload[10:]))
                case 2 | 8:  # SYN_REPLY, HEADERS
                    (stream,) = struct.unpack_from("!I", payload)
                    return Frame(kind, stream & 0x7FFFFFFF, flags, self.headers(payload[4:]))
                case 3 | 7 | 9:  # RST_STREAM, GOAWAY, WINDOW_UPDATE
                    stream, number = struct.unpack("!II", payload)
                    return Frame(kind, stream & 0x7FFFFFFF, flags, number=number)
                case 6:  # PING
                    return Frame(kind, flags=flags, number=struct.unpack("!I", payload)[0])
        except (struct.error, zlib.error) as error:
            raise SpdyError(f"a broken frame of kind {kind}: {error}") from error
        return None

    def headers(self, block: bytes) -> dict[str, str]:
        """Every block must be decompressed, wanted or not: the next one builds on it."""
        plain = self.zlib.decompress(block, HEADERS_BYTES_MAX)
        if self.zlib.unconsumed_tail:
            raise SpdyError("the headers are too large")
        (count,) = struct.unpack_from("!I", plain)
        headers: dict[str, str] = {}
        at = 4
        for _ in range(count):
            name, at = text_at(plain, at)
            value, at = text_at(plain, at)
            headers[name.lower()] = value.replace("\0", ", ")
        return headers


def text_at(plain: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("!I", plain, at)
    end = at + 4 + length
    if end > len(plain):
        raise SpdyError("a header runs past its block")
    return plain[at + 4 : end].decode("latin-1"), end
