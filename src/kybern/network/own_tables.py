"""Our tables of nftables: everything is written to them here, and whatever somebody else does to them is made good.

    tables = OwnTables(clock)
    tables.on_touched("kybern-x", proxy.distrust)      # who writes the whole table again
    await tables.apply(text)                           # as `nft -f -`

Rules that are gone lead nobody and, of policies, protect nobody: a firewall that is loaded again flushes every table of the
machine. The kernel tells of each transaction and who sent it; at the end of one that was not ours, the owners of our tables in
it are told. Other tables are nothing to us. Where there was more news than fits, the kernel's count of transactions says
whether some were not ours: then all owners are told.
"""

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterator

from kybern.aio.clock import Clock
from kybern.linux import nft
from kybern.linux.nft_news import RECEIVE_BYTES, Told, generation, news, told

SENDERS_REMEMBERED = 1024  # transactions whose news may not have been heard yet
BETWEEN_SECONDS = 1.0  # against somebody who undoes them again and again

log = logging.getLogger(__name__)


class OwnTables:
    """Of this thread's network namespace, or of another."""

    def __init__(self, clock: Clock, netns_path: str | None = None) -> None:
        self.clock, self.netns_path = clock, netns_path
        self.owners: dict[str, Callable[[], None]] = {}
        self.senders: deque[int] = deque(maxlen=SENDERS_REMEMBERED)
        self.under_way = 0
        self.counted: int | None = None
        """By the kernel, when we last looked: all transactions."""
        self.since = 0
        """Those that we know of since: ours that hold, and others' that were heard of."""

    def on_touched(self, table: str, distrust: Callable[[], None]) -> None:
        self.owners[table] = distrust

    async def apply(self, text: str) -> None:
        self.under_way += 1
        try:
            await asyncio.to_thread(nft.apply, text, self.netns_path, self.senders.append)
            self.since += 1
        finally:
            self.under_way -= 1

    async def watch(self, began: Callable[[], None] = lambda: None) -> None:
        """Until cancelled. `began` is called once nothing is missed any more."""
        with news(self.netns_path) as kernel:
            kernel.setblocking(False)
            self._knows_all()
            began()
            while True:
                touched = await self._touched(kernel)
                for table in touched:
                    log.warning("somebody else has changed the table %s: all of it is written again", table)
                    self.owners[table]()
                if touched:
                    await self.clock.sleep(BETWEEN_SECONDS)

    async def _touched(self, kernel: socket.socket) -> set[str]:
        """By somebody else, in the next transaction that is heard of."""
        loop = asyncio.get_running_loop()
        touched: set[str] = set()
        while True:
            missed = False
            try:
                heard = list(told(await loop.sock_recv(kernel, RECEIVE_BYTES)))
            except OSError as error:
                missed, heard = is_overflow(error), list(waiting(kernel))
            others = [each for each in heard if each.sender not in self.senders]
            self.since += sum(each.is_end and each.generation > (self.counted or 0) for each in others)
            touched |= {each.table for each in others} & self.owners.keys()
            if missed and not self._knows_all():
                return set(self.owners)
            if touched and any(each.is_end for each in heard):
                return touched

    def _knows_all(self) -> bool:
        """Whether the kernel counts no other transactions than we know of. While one of ours is under way that cannot be told."""
        expected = None if self.counted is None else self.counted + self.since
        self.counted, self.since = None if self.under_way else generation(self.netns_path), 0
        return self.counted is not None and self.counted == expected


def waiting(kernel: socket.socket) -> Iterator[Told]:
    """What can be heard without waiting for it."""
    while True:
        try:
            yield from told(kernel.recv(RECEIVE_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            is_overflow(error)


def is_overflow(error: OSError) -> bool:
    """Of a socket of news, whose only fault is that there was more than fits."""
    if error.errno != errno.ENOBUFS:
        raise error
    return True
