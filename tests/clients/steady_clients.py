"""Clients that ask a Service again and again, as cheaply as Python can, and count what is lost.

Half of them open a connection for each request, so that every one is led anew; the others keep theirs for a while, and go on
where they are told to leave. Lost is a request whose connection is refused, reset or closed before all of the answer is
there, and one that is answered with anything but 200.
"""

import re
import socket
import threading
from datetime import datetime
from types import TracebackType
from typing import Self

ASK, LAST = b"GET / HTTP/1.1\r\nHost: steady\r\n\r\n", b"GET / HTTP/1.1\r\nHost: steady\r\nConnection: close\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
LEAVE = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
ON_ONE_CONNECTION = 200
PLACES = 65536


class SteadyClients:
    def __init__(self, address: str, port: int, seconds: float, clients: int = 4) -> None:
        """`seconds`: how long an answer may take."""
        self.place, self.seconds = (address, port), seconds
        self.counts = [0] * clients
        self.failures: list[str] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Self:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    @property
    def told(self) -> str:
        new, kept = sum(self.counts[::2]), sum(self.counts[1::2])
        return f"{new + kept} requests ({new} by connections of their own), {len(self.failures)} lost"

    def _ask(self, number: int) -> None:
        most = ON_ONE_CONNECTION if number % 2 else 1
        while not self.stopped.is_set():
            try:
                self._by_one_connection(number, most)
            except OSError as error:
                self.failures.append(f"{datetime.now():%H:%M:%S.%f} {error!r}")

    def _by_one_connection(self, number: int, most: int) -> None:
        with socket.create_connection(self.place, self.seconds) as connection:
            for left in reversed(range(most)):  # who closes first keeps the port for a minute: the server does
                stays = answered(connection, ASK if left else LAST)
                self.counts[number] += 1
                if not stays or self.stopped.is_set():
                    return


def answered(connection: socket.socket, request: bytes) -> bool:
    """Whether the connection may be asked again."""
    connection.sendall(request)
    head, end, body = b"", b"", b""
    while not end:
        head, end, body = (head + received(connection)).partition(b"\r\n\r\n")
    head += b"\r\n"
    length = LENGTH.search(head)
    if not head.startswith(b"HTTP/1.1 200 ") or length is None:
        raise OSError(f"answered with {head[:99]!r}")
    while len(body) < int(length[1]):
        body += received(connection)
    return LEAVE.search(head) is None


def received(connection: socket.socket) -> bytes:
    data = connection.recv(PLACES)
    if not data:
        raise ConnectionError("closed before the whole answer was there")
    return data
