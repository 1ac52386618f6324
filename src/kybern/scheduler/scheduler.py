"""The scheduler: takes a pod from the queue, decides from memory, and binds it while the next one is decided.

- A decision never waits: everything it needs is in the snapshot, which follows the View.
- A pod counts on its node from the decision on, so the next decision sees it; if binding fails, it is taken off again.
- Many bindings are under way at once, and no more than BINDINGS_MAX: then decisions wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Binding, Namespace, Node, ObjectReference, Pod
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.api.meta_v1 import ObjectMeta, Status
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.client import Client, View
from kybern.scheduler.changes import change_of, concerns_scheduling
from kybern.scheduler.effects import Events, make_room, tell_refused
from kybern.scheduler.framework import Change, Profile
from kybern.scheduler.groups import FOLLOWED, group_of
from kybern.scheduler.judgement import Judge, Judgement, best
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.preemption import Attempt, preempt
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import Entry, SchedulingQueue, always
from kybern.scheduler.refusal import refusal, woken_by
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import is_waiting, scheduler_of

BINDINGS_MAX = 64  # as many as share a few commits; more only wait in the API server
SLICE_SECONDS = 0.005  # of deciding, before others on this event loop have their turn

log = logging.getLogger(__name__)


class Scheduler:
    def __init__(
        self,
        client: Client,
        view: View,
        clock: Clock,
        ids: Ids,
        events: Events,
        profiles: Sequence[Profile] = (DEFAULT_PROFILE,),
    ) -> None:
        self.client, self.view, self.clock, self.ids, self.events = client, view, clock, ids, events
        self.snapshot = Snapshot()
        self.snapshot.group_of = lambda pod: group_of(pod, view)
        self.judges = {profile.scheduler_name: Judge(self.snapshot, profile) for profile in profiles}
        self.rules = {plugin.name: plugin for profile in profiles for plugin in profile.filters}
        self.queue = SchedulingQueue(woken_by(profiles))
        self.nominations = Nominations()
        self.epoch = 0
        """Of the disruption budgets: how often one of them changed."""
        self.binding: set[str] = set()
        """Pods by uid whose binding is under way, or acknowledged and not yet seen in the View."""
        self.woken = asyncio.Event()
        self.work: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue(BINDINGS_MAX)

    async def run(self) -> None:
        """Schedule until cancelled. The View is somebody else's to run."""
        for kind in (Namespace, Node, Pod, PodDisruptionBudget, *FOLLOWED):
            self.view.watch_kind(kind)
        await self.view.synced()
        self.view.on_change(Namespace, self.namespace_changed)
        self.view.on_change(PodDisruptionBudget, self.budget_changed)
        self.view.on_change(Node, self.node_changed)
        self.view.on_change(Pod, self.pod_changed)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(BINDINGS_MAX):
                tasks.create_task(self.carry_out())
            tasks.create_task(self.decide())

    # What the View tells.

    def namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        """Its labels decide whose terms mean its pods."""
        if new is not None and (old is None or old.metadata.labels != new.metadata.labels):
            self.snapshot.tallies.namespaces[new.metadata.name or ""] = new.metadata.labels or {}
        elif new is None and old is not None:
            self.snapshot.tallies.namespaces.pop(old.metadata.name or "", None)
        else:
            return
        self.snapshot.tallies.forget()
        self.wake(Change.POD_ADDED)

    def budget_changed(self, old: PodDisruptionBudget | None, new: PodDisruptionBudget | None) -> None:
        self.epoch += 1

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
            self.nominations.drop(uid)
            self.pod_placed(new, new.spec.node_name)
        elif not is_waiting(new) or scheduler_of(new) not in self.judges:
            self.queue.remove(uid)
            self.nominations.drop(uid)
        elif uid not in self.binding:
            if new.status.nominated_node_name and (old is None or old.metadata.uid != uid):
                self.nominations.set(new, new.status.nominated_node_name)
            self.queue.add(new, self.clock.monotonic())
            self.woken.set()

    def pod_placed(self, pod: Pod, node: str) -> None:
        known = self.snapshot.placed.get(pod.metadata.uid or "")
        if self.snapshot.add_pod(pod, node):
            self.wake(Change.POD_ADDED, pod)
            if known is not None:
                self.wake(Change.POD_LEFT, known.pod)

    def pod_left(self, pod: Pod) -> None:
        uid = pod.metadata.uid or ""
        self.queue.remove(uid)
        self.binding.discard(uid)
        promised = uid in self.nominations.by_uid
        self.nominations.drop(uid)
        if self.snapshot.remove_pod(uid) or promised:
            self.wake(Change.POD_LEFT, pod)

    def wake(self, change: Change, about: Pod | None = None) -> None:
        if not change:
            return

        def hint(rule: str, pod: Pod) -> bool:
            plugin = self.rules.get(rule)
            return plugin is None or about is None or plugin.hint(pod, change, about, self.snapshot)

        self.queue.changed(change, self.clock.monotonic(), always if about is None else hint)
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
            await self.work.put(self.tried(entry))
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

    def tried(self, entry: Entry) -> Callable[[], Awaitable[None]]:
        """A fault in a rule is the trouble of the pod that met it; the others go on."""
        try:
            return self.decided(entry)
        except Exception as fault:
            log.exception("pod %s/%s: a rule failed", entry.pod.metadata.namespace, entry.pod.metadata.name)
            self.queue.failed(entry, self.clock.monotonic())
            message = f"a scheduling rule failed: {fault}"
            return lambda: self.tell(entry.pod, message, Attempt(None, ""))

    def decided(self, entry: Entry) -> Callable[[], Awaitable[None]]:
        """Decide about one pod; what is left to do about it is the answer."""
        pod = entry.pod
        judgement = self.nominations.respected(self.judges[scheduler_of(pod)](pod))
        row = best(judgement, self.ids.rng, self.nominations.node_of(pod))
        if row is None:
            return self.refused(entry, judgement)
        node = self.snapshot.nodes[row].metadata.name or ""
        self.nominations.drop(pod.metadata.uid or "")
        self.snapshot.add_pod(pod, node)
        self.binding.add(pod.metadata.uid or "")
        self.wake(Change.POD_ADDED, pod)
        return lambda: self.bind(entry, node)

    def refused(self, entry: Entry, judgement: Judgement) -> Callable[[], Awaitable[None]]:
        pod = entry.pod
        why = refusal(pod, judgement, self.snapshot)
        self.queue.refused(entry, why.rules, self.clock.monotonic())
        attempt = preempt(judgement, why, self.nominations, self.budgets, self.ids.rng, self.epoch)
        if attempt.candidate is not None:
            for other in self.nominations.less_important(pod, attempt.candidate.node):
                self.nominations.drop(other.metadata.uid or "")
            self.nominations.set(pod, attempt.candidate.node)
        elif attempt.eligible:
            self.nominations.drop(pod.metadata.uid or "")
        message = f"{why.available} {attempt.message}".rstrip()
        return lambda: self.tell(pod, message, attempt)

    def budgets(self, namespace: str) -> Sequence[PodDisruptionBudget]:
        return self.view.list(PodDisruptionBudget, namespace)

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
            self.wake(Change.POD_LEFT, pod)
        if isinstance(error, NotFound) or found is None or found.metadata.uid != uid:
            return
        if not isinstance(error, Conflict):
            self.events.event(pod, "Warning", "FailedScheduling", f"binding rejected: {error.message}")
        entry.pod = found
        self.queue.failed(entry, self.clock.monotonic())
        self.woken.set()

    async def tell(self, pod: Pod, message: str, attempt: Attempt) -> None:
        node = self.nominations.node_of(pod)
        await tell_refused(pod, message, node, self.client, self.view, self.clock, self.events)
        candidate = attempt.candidate
        if candidate and not await make_room(pod, candidate, self.client, self.clock, self.events):
            self.nominations.drop(pod.metadata.uid or "")
            self.wake(Change.POD_LEFT)
