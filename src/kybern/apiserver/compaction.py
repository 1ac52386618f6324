"""How long the past is kept: five minutes, as upstream; less when so much is written that it would fill the memory.

Clients that resume a watch or a list in pages need the past for seconds; whoever comes later lists again.
"""

from collections import deque

from kybern.apiserver.machine import Machine

KEPT_SECONDS = 300.0
LOOK_SECONDS = 10.0
EVENTS_MAX = 20_000  # of changes kept over all resources; at 3 KB each this is 60 MB


class Compaction:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.marks: deque[tuple[float, int]] = deque()
        """(moment, revision then), oldest first."""

    async def run(self) -> None:
        while True:
            await self.machine.clock.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        store, now = self.machine.store, self.machine.clock.monotonic()
        self.marks.append((now, store.revision))
        before = max(store.oldest, store.revision - EVENTS_MAX)
        while self.marks and self.marks[0][0] <= now - KEPT_SECONDS:
            before = max(before, self.marks.popleft()[1])
        if before > store.oldest:
            await store.compact(before)
            for storage in self.machine.storages.values():
                storage.cache.forget(store.oldest)
            for storage in tuple(self.machine.storages.values()):
                await storage.cache.forget_sent(store.oldest)
