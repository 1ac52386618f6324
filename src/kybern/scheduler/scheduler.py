"""The scheduler: takes a pod from the queue, decides from memory, and binds it while the next one is decided.

- A decision never waits: everything it needs is in the snapshot, which follows the View. Only extenders are waited for,
  beside other decisions.
- Many bindings are under way at once, and no more than BINDINGS_MAX: then decisions wait.

What follows from a decision is in `outcomes`; gangs are decided about in `together`; extenders are heard in `asking`.
"""

import asyncio
from collections.abc import Sequence

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.aio.timeouts import timeout
from kybern.client import Client, View
from kybern.scheduler.asking import ask, narrowed, questions
from kybern.scheduler.effects import Events
from kybern.scheduler.extenders import Extender
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.gangs import gang_of
from kybern.scheduler.outcomes import BINDINGS_MAX, EXTENDED_MAX, SLOW_MAX, Act, Outcomes
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import BACKOFF, Entry
from kybern.scheduler.thawing import thaw
from kybern.scheduler.together import decided_together

SLICE_SECONDS = 0.005  # of deciding, before others on this event loop have their turn


class Scheduler(Outcomes):
    def __init__(
        self,
        client: Client,
        view: View,
        clock: Clock,
        ids: Ids,
        events: Events,
        profiles: Sequence[Profile] = (DEFAULT_PROFILE,),
        extenders: Sequence[Extender] = (),
        backoff: Backoff = BACKOFF,
    ) -> None:
        super().__init__(client, view, clock, ids, events, profiles, extenders, backoff)

    async def run(self) -> None:
        """Schedule until cancelled."""
        await self.follow()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(BINDINGS_MAX):
                tasks.create_task(self.carry_out(self.work))
            for _ in range(EXTENDED_MAX if self.extenders else 0):
                tasks.create_task(self.carry_out(self.extended))
            for _ in range(SLOW_MAX):
                tasks.create_task(self.carry_out(self.slow))
            tasks.create_task(self.decide())

    async def decide(self) -> None:
        slice_ends = self.clock.monotonic() + SLICE_SECONDS
        while True:
            now = self.clock.monotonic()
            self.permits.flush(now)
            while self.due:
                await self.work.put(self.due.pop(0))
            entry = self.queue.pop(now)
            if entry is None and thaw(self):
                continue
            if entry is None:
                await self.wait_for_work()
                slice_ends = self.clock.monotonic() + SLICE_SECONDS
                continue
            await self.work.put(self.tried(entry))
            if self.clock.monotonic() >= slice_ends:
                await asyncio.sleep(0)
                slice_ends = self.clock.monotonic() + SLICE_SECONDS

    async def wait_for_work(self) -> None:
        self.woken.clear()
        now = self.clock.monotonic()
        waits = (self.queue.seconds_to_wait(now), self.permits.seconds_to_wait(now))
        try:
            async with timeout(min((found for found in waits if found is not None), default=None)):
                await self.woken.wait()
        except TimeoutError:
            pass

    def tried(self, entry: Entry) -> Act:
        return self.guarded([entry], lambda: self.decided(entry))

    def decided(self, entry: Entry) -> Act:
        """Decide about one pod, or a gang; what is left to do about it is the answer."""
        gang = gang_of(entry.pod)
        if gang is not None:
            return decided_together(self, gang, entry)
        judgement = self.judged(entry.pod)
        asked = questions(self, [(entry, judgement)]) if self.extenders else []
        if not asked:
            return self.settled(entry, judgement)
        uid = entry.pod.metadata.uid or ""
        return ask(
            self, [entry], asked,
            lambda found, _: self.settled(
                entry, narrowed(self.judged(entry.pod), found[uid], self.snapshot), found[uid].scores
            ),
        )  # fmt: skip
