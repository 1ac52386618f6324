"""The scheduler: takes a pod from the queue, decides from memory, and binds it while the next one is decided.

- A decision never waits: everything it needs is in the snapshot, which follows the View. Only extenders are waited for,
  beside other decisions.
- A pod counts on its node from the decision on, so the next decision sees it; if binding fails, it is taken off again.
- Many bindings are under way at once, and no more than BINDINGS_MAX: then decisions wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import ApiError, Conflict, InternalError, NotFound
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.client import Client, View
from kybern.reconcile.pausing import resumed
from kybern.scheduler.binding import carried_out, reserve, unreserve
from kybern.scheduler.demand import demand_of
from kybern.scheduler.effects import Events, make_room, set_paused, tell_refused
from kybern.scheduler.extenders import Extender, ExtenderFailed, Opinion, opinion
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.framework import Change
from kybern.scheduler.gangs import Gang, gang_of
from kybern.scheduler.judgement import Judgement, best
from kybern.scheduler.knowledge import Knowledge
from kybern.scheduler.permits import Permits
from kybern.scheduler.preemption import Attempt, Candidate, Refused, importance
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import BACKOFF, Entry
from kybern.scheduler.refusal import refusal
from kybern.scheduler.snapshot import Placed
from kybern.scheduler.status import is_waiting, scheduler_of

BINDINGS_MAX = 64  # as many as share a few commits; more only wait in the API server
EXTENDED_MAX = 16  # pods about which extenders are being asked
SLOW_MAX = 256  # pods whose volumes are being bound or made
SLICE_SECONDS = 0.005  # of deciding, before others on this event loop have their turn

log = logging.getLogger(__name__)

Act = Callable[[], Awaitable[None]]
NO_ATTEMPT = Attempt(None, "")


async def nothing() -> None:
    return


class Scheduler(Knowledge):
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
        super().__init__(view, clock, profiles, backoff)
        self.client, self.ids, self.events, self.extenders = client, ids, events, extenders
        self.held: dict[str, tuple[Entry, str]] = {}
        """Pods by uid with their node, that wait for a Permit plugin's word."""
        self.permits = Permits(self.allowed, self.turned_away)
        self.work: asyncio.Queue[Act] = asyncio.Queue(BINDINGS_MAX)
        self.extended: asyncio.Queue[Act] = asyncio.Queue(EXTENDED_MAX)
        self.slow: asyncio.Queue[Act] = asyncio.Queue(SLOW_MAX)
        self.due: list[Act] = []
        """Acts of pods that were allowed or turned away between decisions."""

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

    def pod_left(self, pod: Pod) -> None:
        self.permits.turn_away(pod.metadata.uid or "", "the pod was deleted")
        super().pod_left(pod)

    # Deciding.

    async def decide(self) -> None:
        slice_ends = self.clock.monotonic() + SLICE_SECONDS
        while True:
            now = self.clock.monotonic()
            self.permits.flush(now)
            while self.due:
                await self.work.put(self.due.pop(0))
            entry = self.queue.pop(now)
            if entry is None and self.resume_paused():
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
        waits = [found for found in (self.queue.seconds_to_wait(now), self.permits.seconds_to_wait(now)) if found]
        try:
            async with asyncio.timeout(min(waits, default=None)):
                await self.woken.wait()
        except TimeoutError:
            pass

    def tried(self, entry: Entry) -> Act:
        return self.guarded(entry, lambda: self.decided(entry))

    def guarded(self, entry: Entry, decision: Callable[[], Act]) -> Act:
        """A fault in a rule is the trouble of the pod that met it; the others go on."""
        try:
            return decision()
        except Exception as fault:
            log.exception("pod %s/%s: a rule failed", entry.pod.metadata.namespace, entry.pod.metadata.name)
            self.give_back(entry.pod)
            return self.failed(entry, f"a scheduling rule failed: {fault}")

    def decided(self, entry: Entry) -> Act:
        """Decide about one pod, or a gang; what is left to do about it is the answer."""
        gang = gang_of(entry.pod)
        if gang is not None:
            return self.decided_together(gang, entry)
        judgement = self.judged(entry.pod)
        interested = [extender for extender in self.extenders if extender.interested(entry.pod)]
        if interested and judgement.fits.any():
            return self.handed_to(interested, entry, judgement)
        return self.settled(entry, judgement)

    def judged(self, pod: Pod) -> Judgement:
        return self.nominations.respected(self.judges[scheduler_of(pod)](pod))

    def settled(self, entry: Entry, judgement: Judgement, scores: Mapping[str, int] | None = None) -> Act:
        row = best(judgement, self.ids.rng, self.nominations.node_of(entry.pod), scores)
        if row is None:
            return self.refused(entry, judgement)
        node = self.snapshot.nodes[row].metadata.name or ""
        rule, why = self.taken(entry.pod, node)
        if why:
            self.queue.refused(entry, frozenset((rule,)), self.clock.monotonic())
            return lambda: self.tell(entry.pod, why, NO_ATTEMPT)
        return self.permitted(entry, node)

    def taken(self, pod: Pod, node: str) -> tuple[str, str]:
        """From here on the pod counts on the node. Or the plugin that could not reserve, and why."""
        rule, why = reserve(pod, node, self.profile_of(pod), self.snapshot)
        if not why:
            self.nominations.drop(pod.metadata.uid or "")
            self.snapshot.add_pod(pod, node)
            self.binding.add(pod.metadata.uid or "")
            self.wake(Change.POD_ADDED, pod)
        return rule, why

    def give_back(self, pod: Pod) -> None:
        uid = pod.metadata.uid or ""
        placed = self.snapshot.placed.get(uid)
        self.binding.discard(uid)
        if placed is not None:
            unreserve(pod, placed.node, self.profile_of(pod), self.snapshot)
            self.snapshot.remove_pod(uid)
            self.wake(Change.POD_LEFT, pod)

    def permitted(self, entry: Entry, node: str) -> Act:
        why = self.permits.ask(entry.pod, node, self.profile_of(entry.pod).permit, self.clock.monotonic())
        if why is None:
            return self.to_bind(entry, node)
        if why:
            self.give_back(entry.pod)
            return self.failed(entry, why)
        self.held[entry.pod.metadata.uid or ""] = (entry, node)
        return nothing

    def allowed(self, uid: str) -> None:
        entry, node = self.held.pop(uid)
        self.due.append(self.to_bind(entry, node))
        self.woken.set()

    def to_bind(self, entry: Entry, node: str) -> Act:
        """Where something has to be waited for first, beside the bindings that need not wait."""
        if not any(plugin.takes_time(entry.pod, self.snapshot) for plugin in self.profile_of(entry.pod).pre_bind):
            return lambda: self.bind(entry, node)
        try:
            self.slow.put_nowait(lambda: self.bind(entry, node))
        except asyncio.QueueFull:
            self.give_back(entry.pod)
            return self.failed(entry, "too many pods wait for their volumes")
        return nothing

    def turned_away(self, uid: str, why: str) -> None:
        entry, _ = self.held.pop(uid)
        self.give_back(entry.pod)
        found = self.view.get(Pod, entry.pod.metadata.name or "", entry.pod.metadata.namespace or "")
        if found is not None and found.metadata.uid == uid and is_waiting(found):
            entry.pod = found
            self.due.append(self.failed(entry, why))
        self.woken.set()

    def failed(self, entry: Entry, message: str) -> Act:
        """It is tried again after its back-off."""
        self.queue.failed(entry, self.clock.monotonic())
        return lambda: self.tell(entry.pod, message, NO_ATTEMPT)

    def refused(self, entry: Entry, judgement: Judgement) -> Act:
        pod = entry.pod
        why = refusal(pod, judgement, self.snapshot)
        self.queue.refused(entry, why.rules, self.clock.monotonic())
        about = Refused(judgement, why, self.nominations, self.budgets, self.ids.rng, self.epoch)
        attempt = NO_ATTEMPT
        for plugin in judgement.profile.post_filters:
            found = plugin.post_filter(about)
            if found.candidate is not None or not found.eligible or not attempt.message:
                attempt = found
            if found.candidate is not None or not found.eligible:
                break  # it has its room, or waits for those who leave it
        if attempt.candidate is not None:
            for other in self.nominations.less_important(pod, attempt.candidate.node):
                self.nominations.drop(other.metadata.uid or "")
            self.nominations.set(pod, attempt.candidate.node, attempt.candidate.victims)
        elif attempt.eligible:
            self.nominations.drop(pod.metadata.uid or "")
        message = f"{why.available} {attempt.message}".rstrip()
        return lambda: self.tell(pod, message, attempt)

    # Paused pods.

    def resume_paused(self) -> bool:
        """Thaw those whose processors are free again, the most important first, behind all who wait to be tried."""
        found = False
        for placed in sorted(self.snapshot.paused.values(), key=lambda placed: importance(placed.pod)):
            pod, row = placed.pod, self.snapshot.rows.get(placed.node)
            if row is None or pod.metadata.deletion_timestamp is not None or self.more_important_waits(pod):
                continue
            promised = self.nominations.on_node.get(placed.node, {}).values()
            asked = sum(demand_of(one).amounts.get("cpu", 0) for one in (pod, *promised))
            if asked <= int(self.snapshot.allocatable[row, 0] - self.snapshot.requested[row, 0]):
                self.snapshot.add_pod(resumed(pod), placed.node)
                self.due.append(lambda placed=placed: self.resume(placed))  # type: ignore[misc]
                found = True
        return found

    def more_important_waits(self, pod: Pod) -> bool:
        mine, queue = pod.spec.priority or 0, self.queue
        return any(
            (entry.pod.spec.priority or 0) > mine
            for uid, entry in queue.entries.items()
            if uid not in queue.unschedulable and uid not in queue.gated
        )

    async def resume(self, placed: Placed) -> None:
        """Where it could not be told, it is paused still, and resumed at the next occasion."""
        if not await set_paused(placed.pod, self.client, self.events, on=False, why="Its processors are free again"):
            self.snapshot.add_pod(placed.pod, placed.node)

    # Gangs.

    def decided_together(self, gang: Gang, first: Entry) -> Act:
        """All that wait, in one step. Those beyond the gang's size that find no room wait as any pod does."""
        members = self.gangs.of(gang)
        waiting = [first, *(entry for uid in members if (entry := self.queue.take(uid)) is not None)]
        placed = sum(uid in self.snapshot.placed for uid in members)
        acts: list[Act] = []
        chosen: list[tuple[Entry, str]] = []
        refused: list[tuple[Entry, Judgement]] = []
        for entry in waiting:
            judgement = self.judged(entry.pod)
            row = best(judgement, self.ids.rng, self.nominations.node_of(entry.pod))
            node = "" if row is None else self.snapshot.nodes[row].metadata.name or ""
            if node and not self.taken(entry.pod, node)[1]:
                chosen.append((entry, node))
            else:
                refused.append((entry, judgement))
        if placed + len(chosen) < gang.size:
            why = f"gang {gang.name}: room for {placed + len(chosen)} of {gang.size} pods"
            reasons = refusal(refused[0][0].pod, refused[0][1], self.snapshot)
            for entry, _ in chosen:
                self.give_back(entry.pod)
            for entry in waiting:
                self.queue.refused(entry, reasons.rules, self.clock.monotonic())
                acts.append(lambda pod=entry.pod: self.tell(pod, f"{why}. {reasons.available}", NO_ATTEMPT))  # type: ignore[misc]
        else:
            acts += [self.permitted(entry, node) for entry, node in chosen]
            acts += [self.refused(entry, judgement) for entry, judgement in refused]
        self.due += acts[1:]
        return acts[0]

    # Extenders.

    def handed_to(self, extenders: Sequence[Extender], entry: Entry, judgement: Judgement) -> Act:
        nodes = [self.snapshot.nodes[row] for row in np.flatnonzero(judgement.fits)]
        try:
            self.extended.put_nowait(lambda: self.ask(extenders, entry, nodes))
        except asyncio.QueueFull:
            self.queue.failed(entry, self.clock.monotonic())
            return nothing
        self.asking[entry.pod.metadata.uid or ""] = entry
        return nothing

    async def ask(self, extenders: Sequence[Extender], entry: Entry, nodes: Sequence[Node]) -> None:
        try:
            found = await opinion(extenders, entry.pod, nodes)
        except ApiError as error:
            act = self.failed(entry, error.message) if self.answered(entry) else nothing
        else:
            act = self.guarded(entry, lambda: self.extended_by(entry, found)) if self.answered(entry) else nothing
        await act()
        self.woken.set()

    def answered(self, entry: Entry) -> bool:
        """Whether the pod is still there."""
        return self.asking.pop(entry.pod.metadata.uid or "", None) is not None

    def extended_by(self, entry: Entry, found: Opinion) -> Act:
        """Judged anew: the cluster has changed since they were asked."""
        judgement = self.judged(entry.pod)
        judgement.fits = judgement.fits.copy()
        for row in np.flatnonzero(judgement.fits).tolist():
            name = self.snapshot.nodes[row].metadata.name or ""
            if name not in found.scores:
                judgement.fits[row] = False
                judgement.promised[row] = [found.refused.get(name, "node(s) are not known to an extender yet")]
                judgement.hopeless |= {row} if name in found.hopeless else set()
        return self.settled(entry, judgement, found.scores)

    def budgets(self, namespace: str) -> Sequence[PodDisruptionBudget]:
        return self.view.list(PodDisruptionBudget, namespace)

    # Acting.

    async def carry_out(self, work: asyncio.Queue[Act]) -> None:
        while True:
            act = await work.get()
            await act()

    async def bind(self, entry: Entry, node: str) -> None:
        pod = entry.pod
        name, namespace = pod.metadata.name or "", pod.metadata.namespace or ""
        try:
            await carried_out(pod, node, self.profile_of(pod), self.extenders, self.snapshot, self.client)
        except ApiError as error:
            self.not_bound(entry, error)
            return
        except Exception as fault:
            log.exception("pod %s/%s: it could not be bound", namespace, name)
            self.not_bound(entry, InternalError(str(fault)))
            return
        self.events.event(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    def not_bound(self, entry: Entry, error: ApiError) -> None:
        """The View may know better by now: a binding can succeed although its answer is lost."""
        pod = entry.pod
        uid = pod.metadata.uid or ""
        found = self.view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
        if found is not None and found.metadata.uid == uid and found.spec.node_name:
            return
        self.give_back(pod)
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
        if candidate and not await self.agreed(pod, candidate):
            self.nominations.drop(pod.metadata.uid or "")
        elif candidate and not await make_room(pod, candidate, self.client, self.clock, self.events):
            self.nominations.drop(pod.metadata.uid or "")
            self.wake(Change.POD_LEFT)

    async def agreed(self, pod: Pod, candidate: Candidate) -> bool:
        """Every extender that has a say in preemption; one that cannot be asked and is ignorable has none."""
        for extender in self.extenders:
            if extender.preempt_verb and extender.interested(pod):
                try:
                    if not await extender.agrees(pod, candidate):
                        return False
                except ExtenderFailed:
                    if not extender.ignorable:
                        return False
        return True
