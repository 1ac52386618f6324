"""Carry controllers out: declare what they follow, connect changes to keys, and let workers reconcile the keys.

After each pass a worker waits until the View has seen everything the pass wrote, before its key may be worked on again:
so no pass ever acts on a state from before its own last write, deletions included, and no counting of expected events is
needed.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from kybern.aio.clock import Clock, SystemClock, until_tick
from kybern.aio.ids import Ids
from kybern.aio.slices import SLICE_ITEMS
from kybern.api.errors import ApiError, Conflict
from kybern.client import Client, View, Write
from kybern.client.events import Recorder
from kybern.reconcile.controller import After, Context, Controller, Events, Key, Loop, Periodic, Running, Surroundings
from kybern.reconcile.metrics import QueueMetrics
from kybern.reconcile.queue import Queue
from kybern.reconcile.wakeups import connect

log = logging.getLogger(__name__)


def declare(controllers: Iterable[Loop], view: View) -> None:
    """Let the view follow what the controllers read."""
    for controller in controllers:
        for of in controller.kinds:
            view.watch_kind(of)
        for watch in controller.watches if isinstance(controller, Controller) else ():
            view.watch_kind(watch.type, every_seconds=watch.every_seconds)


async def run_controllers(
    client: Client,
    view: View,
    controllers: Iterable[Loop],
    *,
    clock: Clock | None = None,
    ids: Ids | None = None,
    host: str = "",
    client_of: Callable[[Loop], Client] | None = None,
    metrics: QueueMetrics | None = None,
) -> None:
    """Run all of them until cancelled. `view.run()` has to run beside. `client_of` gives each loop a client of its own."""
    clock, ids, metrics = clock or SystemClock(), ids or Ids(), metrics or QueueMetrics()
    loops = tuple(controllers)
    declare(loops, view)
    await view.synced()
    async with asyncio.TaskGroup() as tasks:
        for loop in loops:
            own = client_of(loop) if client_of else client
            events = Recorder(own, component_of(loop), host, clock, ids)
            tasks.create_task(events.run())
            tasks.create_task(_run(loop, Surroundings(own, view, clock, ids, events, metrics)))


def component_of(loop: Loop) -> str:
    return (isinstance(loop, Controller) and loop.component) or f"{loop.name}-controller"


async def _run(loop: Loop, around: Surroundings) -> None:
    match loop:
        case Controller():
            await Workers(loop, around).run()
        case Periodic():
            await _repeat(loop, around)
        case Running():
            await loop.by(around)


async def _repeat(loop: Periodic, around: Surroundings) -> None:
    while True:
        try:
            await loop.by(around.view, around.client, _context(around))
        except ApiError as error:
            log.info("%s: %s", loop.name, error.message)
        except Exception:
            log.exception("%s failed", loop.name)
        await around.clock.sleep(until_tick(around.clock.monotonic(), loop.every_seconds))
        await around.view.wait_until(lambda: not loop.idle(around.view))


def _context(around: Surroundings) -> Context:
    return Context(around.clock.wall(), around.ids, around.events, around.clock.monotonic())


class Workers:
    """The workers of one controller."""

    def __init__(self, controller: Controller[Any], around: Surroundings) -> None:
        self.controller, self.around = controller, around
        self.queue: Queue[Key] = Queue(controller.retry, controller.rest_seconds)
        around.metrics.queues[controller.name] = self.queue

    async def run(self) -> None:
        await connect(self.controller, self.around.view, self.queue.add)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.controller.workers):
                tasks.create_task(self._work())
            if self.controller.resync_seconds:
                tasks.create_task(self._resync())

    async def _work(self) -> None:
        for number in count(1):
            key = await self.queue.get()
            writes: list[Write] = []
            try:
                await self.handle(key, writes)
                if writes:
                    await self.around.view.caught_up(writes)
            finally:
                self.queue.done(key)
            if number % SLICE_ITEMS == 0:  # else passes that wait for nothing would keep leases from being renewed
                await asyncio.sleep(0)

    async def handle(self, key: Key, writes: list[Write]) -> None:
        """One pass over one key, and when to look at it again."""
        try:
            after = await self._reconcile(key, self.around.client.telling(writes.append))
        except ApiError as error:
            level = logging.DEBUG if isinstance(error, Conflict) else logging.INFO
            log.log(level, "%s %s/%s: %s", self.controller.name, *key, error.message)
            self.queue.retry(key)
        except Exception:
            log.exception("%s failed for %s/%s", self.controller.name, *key)
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            if after is not None:
                self.queue.add_after(key, after.seconds)

    async def _reconcile(self, key: Key, client: Client) -> After | None:
        view = self.around.view
        obj = view.get(self.controller.reconciles, key.name, key.namespace)
        if obj is not None:
            return await self.controller.by(obj, view, client, _context(self.around))
        if self.controller.gone is not None:
            return await self.controller.gone(key, view, client, _context(self.around))
        return None

    async def _resync(self) -> None:
        while True:
            await self.around.clock.sleep(self.controller.resync_seconds)
            for obj in filter(self.controller.concerns, self.around.view.list(self.controller.reconciles)):
                self.queue.add(Key.of(obj))


__all__ = ["Events", "Workers", "component_of", "declare", "run_controllers"]
