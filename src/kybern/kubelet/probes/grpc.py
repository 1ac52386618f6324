"""gRPC health checks (grpc.health.v1.Health/Check) with as little of HTTP/2 as one question needs.

One connection, one stream, one small message each way. Headers are sent uncompressed; those that come are not read,
because the answer's message says everything: a server that is well answers `SERVING`, and sends a message at all.
"""

import asyncio
import struct
from collections.abc import AsyncIterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
FRAME_BYTES_MAX = 16_384  # what a server may send to a client that has asked for nothing else
FRAMES_MAX = 100
STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class GrpcFault(Exception):
    """No answer came; the message says why."""


async def health(host: str, port: int, service: str) -> str:
    """The status's name. OSError where nobody listens, GrpcFault where somebody does and does not answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(PREFACE + frame(SETTINGS, 0, 0, b"") + question(host, port, service))
        async for kind, flags, payload in frames(reader):
            if kind == DATA and len(payload) >= 5:
                return STATUSES.get(status_in(payload[5:]), "UNKNOWN")
            if kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
                break
            if kind in (SETTINGS, PING) and not flags & ACK:
                writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        raise GrpcFault("this server does not implement the grpc health protocol (grpc.health.v1.Health)")
    except (EOFError, struct.error) as error:
        raise GrpcFault("the server closed the connection") from error
    finally:
        writer.close()


def question(host: str, port: int, service: str) -> bytes:
    """HEADERS and DATA of the request, on stream 1."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", f"{host}:{port}"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "kube-probe/1.37"),
    )
    name = service.encode()
    message = b"\x0a" + bytes((len(name),)) + name if name else b""  # field 1, at most 127 bytes
    block = b"".join(b"\x00" + text(key) + text(value) for key, value in headers)
    return frame(HEADERS, END_HEADERS, 1, block) + frame(
        DATA, END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message
    )


def text(value: str) -> bytes:
    """A string literal of HPACK (RFC 7541 section 5.2), without Huffman coding; ours are all shorter than 127 bytes."""
    return bytes((len(value),)) + value.encode()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


async def frames(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, int, bytes]]:
    for _ in range(FRAMES_MAX):
        head = await reader.readexactly(9)
        length = int.from_bytes(head[:3])
        if length > FRAME_BYTES_MAX:
            raise GrpcFault("the server sent a frame that is too long")
        yield head[3], head[4], await reader.readexactly(length)


def status_in(message: bytes) -> int:
    """Field 1 of HealthCheckResponse: a varint, left out where it is 0."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
