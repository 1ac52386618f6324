"""The scheduler: takes a pod from the queue, decides from memory, and binds it while the next one is decided.

- A decision never waits: everything it needs is in the snapshot, which follows the View.
- A pod counts on its node from the decision on, so the next decision sees it; if binding fails, it is taken off again.
- Many bindings are under way at once, and no more than BINDINGS_MAX: then decisions wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from kybern.aio.clock import Clock, rfc3339
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Binding, Node, ObjectReference, Pod
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.client import Client, View
from kybern.scheduler.changes import change_of, concerns_scheduling
from kybern.scheduler.framework import Change, Profile
from kybern.scheduler.judgement import Judge, best
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import Entry, SchedulingQueue
from kybern.scheduler.refusal import Refusal, refusal, woken_by
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import condition_patch, is_told, is_waiting

BINDINGS_MAX = 64  # as many as share a few commits; more only wait in the API server
SLICE_SECONDS = 0.005  # of deciding, before others on this event loop have their turn

log = logging.getLogger(__name__)


class Events(Protocol):
    def event(self, obj: Any, type: str, reason: str, message: str) -> None: ...


class Scheduler:
    def __init__(
        self, client: Client, view: View, clock: Clock, ids: Ids, events: Events, profile: Profile = DEFAULT_PROFILE
    ) -> None:
        self.client, self.view, self.clock, self.ids, self.events = client, view, clock, ids, events
        self.profile = profile
        self.snapshot = Snapshot()
        self.judge = Judge(self.snapshot, profile)
        self.queue = SchedulingQueue(cast(dict[str, Change], woken_by(profile)))
        self.binding: set[str] = set()
        """Pods by uid whose binding is under way, or acknowledged and not yet seen in the View."""
        self.woken = asyncio.Event()
        self.work: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue(BINDINGS_MAX)

    async def run(self) -> None:
        """Schedule until cancelled. The View is somebody else's to run."""
        self.view.watch_kind(Node)
        self.view.watch_kind(Pod)
        await self.view.synced()
        self.view.on_change(Node, self.node_changed)
        self.view.on_change(Pod, self.pod_changed)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(BINDINGS_MAX):
                tasks.create_task(self.carry_out())
            tasks.create_task(self.decide())

    # What the View tells.

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.snapshot.remove_node(old.metadata.name or "")
            return
        if concerns_scheduling(old, new):
            self.snapshot.set_node(new)
            self.wake(change_of(old, new))

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self.pod_left(old)
        if new is None:
            return
        uid = new.metadata.uid or ""
        if new.status.phase in ("Succeeded", "Failed"):
            self.pod_left(new)
        elif new.spec.node_name:
            self.binding.discard(uid)
            self.queue.remove(uid)
            self.snapshot.add_pod(new, new.spec.node_name)
        elif is_waiting(new, self.profile.scheduler_name) and uid not in self.binding:
            self.queue.add(new, self.clock.monotonic())
            self.woken.set()
        else:
            self.queue.remove(uid)

    def pod_left(self, pod: Pod) -> None:
        uid = pod.metadata.uid or ""
        self.queue.remove(uid)
        self.binding.discard(uid)
        if self.snapshot.remove_pod(uid):
            self.wake(Change.POD_LEFT)

    def wake(self, change: Change) -> None:
        if change:
            self.queue.changed(change, self.clock.monotonic())
            self.woken.set()

    # Deciding.

    async def decide(self) -> None:
        slice_ends = self.clock.monotonic() + SLICE_SECONDS
        while True:
            entry = self.queue.pop(self.clock.monotonic())
            if entry is None:
                await self.wait_for_work()
                slice_ends = self.clock.monotonic() + SLICE_SECONDS
                continue
            await self.work.put(self.decided(entry))
            if self.clock.monotonic() >= slice_ends:
                await asyncio.sleep(0)
                slice_ends = self.clock.monotonic() + SLICE_SECONDS

    async def wait_for_work(self) -> None:
        self.woken.clear()
        try:
            async with asyncio.timeout(self.queue.seconds_to_wait(self.clock.monotonic())):
                await self.woken.wait()
        except TimeoutError:
            pass

    def decided(self, entry: Entry) -> Callable[[], Awaitable[None]]:
        """Decide about one pod; what is left to do about it is the answer."""
        judgement = self.judge(entry.pod)
        row = best(judgement, self.ids.rng)
        if row is None:
            why = refusal(entry.pod, judgement, self.snapshot)
            self.queue.refused(entry, why.rules, self.clock.monotonic())
            return lambda: self.tell_refused(entry.pod, why)
        node = self.snapshot.nodes[row].metadata.name or ""
        self.snapshot.add_pod(entry.pod, node)
        self.binding.add(entry.pod.metadata.uid or "")
        return lambda: self.bind(entry, node)

    # Acting.

    async def carry_out(self) -> None:
        while True:
            act = await self.work.get()
            await act()

    async def bind(self, entry: Entry, node: str) -> None:
        pod = entry.pod
        metadata = ObjectMeta(name=pod.metadata.name, namespace=pod.metadata.namespace, uid=pod.metadata.uid)
        body = Binding(metadata=metadata, target=ObjectReference(api_version="v1", kind="Node", name=node))
        name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
        try:
            await self.client.subresource(Pod, name, namespace, "binding", body, Status)
        except ApiError as error:
            self.not_bound(entry, error)
            return
        self.events.event(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    def not_bound(self, entry: Entry, error: ApiError) -> None:
        """The View may know better by now: a binding can succeed although its answer is lost."""
        pod = entry.pod
        uid = pod.metadata.uid or ""
        found = self.view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
        if found is not None and found.metadata.uid == uid and found.spec.node_name:
            return
        self.binding.discard(uid)
        if self.snapshot.remove_pod(uid):
            self.wake(Change.POD_LEFT)
        if isinstance(error, NotFound) or found is None or found.metadata.uid != uid:
            return
        if not isinstance(error, Conflict):
            self.events.event(pod, "Warning", "FailedScheduling", f"binding rejected: {error.message}")
        entry.pod = found
        self.queue.failed(entry, self.clock.monotonic())
        self.woken.set()

    async def tell_refused(self, pod: Pod, why: Refusal) -> None:
        self.events.event(pod, "Warning", "FailedScheduling", why.message)
        found = self.view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
        if found is None or found.metadata.uid != pod.metadata.uid or is_told(found, why.message):
            return
        patch = condition_patch(found, why.message, rfc3339(self.clock.wall()))
        name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
        try:
            await self.client.patch(Pod, name, namespace, patch, how="strategic", subresource="status")
        except ApiError as error:
            log.info("pod %s/%s: its condition could not be written: %s", namespace, name, error.message)
