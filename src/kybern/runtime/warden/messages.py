"""Messages between the warden and the node's agent: JSON with its length in front, and descriptors beside it.

Descriptors travel with the first byte of the message that says `"fds": n`, so their order is that of the messages.
"""

import json
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

HEADER = struct.Struct(">I")
MESSAGE_BYTES_MAX = 16 << 20
READ_BYTES = 1 << 18
DESCRIPTORS_MAX = 64

Message = dict[str, Any]


class Broken(Exception):
    """What arrived is no message: the connection is of no more use."""


def encode(message: Message, descriptors: Sequence[int] = ()) -> bytes:
    body = json.dumps(message | {"fds": len(descriptors)}).encode()
    return HEADER.pack(len(body)) + body


class Inbox:
    """What has been received, until it is a whole message with all its descriptors."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.descriptors: deque[int] = deque()

    def receive(self, connection: socket.socket) -> bool:
        """Once; False at the end of the connection. Never blocks on a non-blocking socket."""
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, READ_BYTES, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.buffer += data
        self.descriptors.extend(descriptors)
        return bool(data)

    def messages(self) -> Iterator[tuple[Message, list[int]]]:
        while len(self.buffer) >= HEADER.size:
            [length] = HEADER.unpack_from(self.buffer)
            if length > MESSAGE_BYTES_MAX:
                raise Broken(f"a message of {length} bytes")
            end = HEADER.size + length
            if len(self.buffer) < end:
                return
            body = bytes(self.buffer[HEADER.size : end])
            del self.buffer[:end]
            try:
                message = json.loads(body)
                count = int(message["fds"])
            except (ValueError, KeyError, TypeError) as error:
                raise Broken("a message that is not understood") from error
            if count > len(self.descriptors):
                raise Broken("a message without its descriptors")
            yield message, [self.descriptors.popleft() for _ in range(count)]

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()


class Outbox:
    """What is to be sent, as far as the socket takes it."""

    def __init__(self) -> None:
        self.pending: deque[tuple[memoryview, list[int]]] = deque()

    def put(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Takes the descriptors over: they are closed once sent."""
        self.pending.append((memoryview(encode(message, descriptors)), list(descriptors)))

    def flush(self, connection: socket.socket) -> bool:
        """True when everything is sent. OSError when the other side is gone."""
        while self.pending:
            data, descriptors = self.pending[0]
            try:
                if descriptors:
                    sent = socket.send_fds(connection, [data], descriptors)
                else:
                    sent = connection.send(data)
            except (BlockingIOError, InterruptedError):
                return False
            for descriptor in descriptors:
                os.close(descriptor)
            if sent == len(data):
                self.pending.popleft()
            else:
                self.pending[0] = (data[sent:], [])
        return True

    def close(self) -> None:
        for _, descriptors in self.pending:
            for descriptor in descriptors:
                os.close(descriptor)
        self.pending.clear()
