"""Our tables of nftables: everything is written to them here, and whatever somebody else does to them is made good.

    tables = OwnTables(clock)
    tables.on_touched("kybern-x", proxy.distrust)      # who writes the whole table again
    await tables.apply(text)                           # as `nft -f -`

Rules that are gone lead nobody and, of policies, protect nobody: a firewall that is loaded again flushes every table of the
machine. The kernel tells of each transaction and who sent it; at the end of one that was not ours, the owners of our tables in
it are told. Other tables are nothing to us.
"""

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable

from kybern.aio.clock import Clock
from kybern.linux import nft
from kybern.linux.nft_news import RECEIVE_BYTES, news, told

SENDERS_REMEMBERED = 1024  # transactions whose news may not have been heard yet
BETWEEN_SECONDS = 1.0  # against somebody who undoes them again and again

log = logging.getLogger(__name__)


class OwnTables:
    """Of this thread's network namespace, or of another."""

    def __init__(self, clock: Clock, netns_path: str | None = None) -> None:
        self.clock, self.netns_path = clock, netns_path
        self.owners: dict[str, Callable[[], None]] = {}
        self.senders: deque[int] = deque(maxlen=SENDERS_REMEMBERED)

    def on_touched(self, table: str, distrust: Callable[[], None]) -> None:
        self.owners[table] = distrust

    async def apply(self, text: str) -> None:
        await asyncio.to_thread(nft.apply, text, self.netns_path, self.senders.append)

    async def watch(self, began: Callable[[], None] = lambda: None) -> None:
        """Until cancelled. `began` is called once nothing is missed any more."""
        with news(self.netns_path) as kernel:
            kernel.setblocking(False)
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
            try:
                heard = list(told(await loop.sock_recv(kernel, RECEIVE_BYTES)))
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return await self._gone()
            touched |= {each.table for each in heard if each.sender not in self.senders} & self.owners.keys()
            if touched and any(each.is_end for each in heard):
                return touched

    async def _gone(self) -> set[str]:
        """What is noticed where there was more news than fits."""
        return self.owners.keys() - await asyncio.to_thread(nft.tables, self.netns_path)
