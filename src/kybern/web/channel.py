"""One of several byte streams that share a connection.

A connection that carries channels is read by one task, which puts what arrives into the channels. It waits while a
channel holds more than its bound: then the whole connection waits, and nothing grows.
"""

import asyncio
from abc import ABC, abstractmethod

from kybern.web.inflow import Inflow

CHANNEL_BYTES_MAX = 512 * 1024
SEND_BYTES_MAX = 32 * 1024  # One frame; a longer one would hold up the other channels.


class Channel(ABC):
    def __init__(self) -> None:
        self.inflow = Inflow(self.make_room)
        self.room = asyncio.Event()
        self.unread = False

    async def receive(self) -> bytes:
        """The next bytes; `b""` when the other side will send no more on this channel."""
        return await self.inflow.next()

    @abstractmethod
    async def send(self, data: bytes) -> None:
        """ConnectionError when the channel or its connection is gone."""

    @abstractmethod
    async def close(self) -> None:
        """Sends no more on this channel; it may still receive."""

    def ignore(self) -> None:
        """What has arrived and what arrives from now on is thrown away."""
        self.unread = True
        self.inflow.pieces.clear()
        self.inflow.size = 0
        self.room.set()

    async def put(self, data: bytes) -> None:
        """For the task that reads the connection."""
        if self.unread:
            return
        self.inflow.feed(data)
        while self.inflow.size > CHANNEL_BYTES_MAX and not self.unread:
            self.room.clear()
            await self.room.wait()

    def make_room(self) -> None:
        self.room.set()


def pieces_of(data: bytes) -> list[bytes]:
    if len(data) <= SEND_BYTES_MAX:
        return [data]
    return [data[start : start + SEND_BYTES_MAX] for start in range(0, len(data), SEND_BYTES_MAX)]
