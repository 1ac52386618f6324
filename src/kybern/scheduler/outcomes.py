"""What follows from a decision: a pod is bound, waits for a word, or is told why it fits nowhere and who leaves for it.

- A pod counts on its node from the decision on, so the next decision sees it; if binding fails, it is taken off again.
- A decision never waits. What it leads to is an act, carried out in a task beside it; each queue of acts has a bound.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Pod
from kybern.api.errors import ApiError, Conflict, InternalError, NotFound
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.client import Client, View
from kybern.scheduler.binding import carried_out, reserve, unreserve, written
from kybern.scheduler.effects import Events, make_room, tell_expected, tell_refused
from kybern.scheduler.extenders import Extender, ExtenderFailed, agreed
from kybern.scheduler.extension_points import Profile
from kybern.scheduler.framework import Change
from kybern.scheduler.judgement import Judgement, best
from kybern.scheduler.knowledge import Knowledge
from kybern.scheduler.permits import Permits, Waiting
from kybern.scheduler.permits import Refused as TurnedAway
from kybern.scheduler.preemption import Attempt, Refused, cheapest
from kybern.scheduler.queue import Entry
from kybern.scheduler.refusal import Refusal, available, refusal
from kybern.scheduler.status import FAULTY, UNSCHEDULABLE, is_waiting, scheduler_of
from kybern.scheduler.victims import Candidate

BINDINGS_MAX = 64  # as many as share a few commits; more only wait in the API server
EXTENDED_MAX = 16  # pods about which extenders are being asked
SLOW_MAX = 256  # pods whose volumes are being bound or made

log = logging.getLogger(__name__)

Act = Callable[[], Awaitable[None]]
NO_ATTEMPT = Attempt(None, "")
FAULT = "a scheduling rule failed: {}"


async def nothing() -> None:
    return


@dataclass(slots=True)
class Held:
    """A pod with a node that waits for a Permit plugin's word."""

    entry: Entry
    node: str
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Where it is about to go: whatever comes of it is written after that, or its status would go on saying so."""

    def then(self, act: Act) -> Act:
        async def both() -> None:
            await self.told.wait()
            await act()

        return both


class Outcomes(Knowledge):
    def __init__(
        self,
        client: Client,
        view: View,
        clock: Clock,
        ids: Ids,
        events: Events,
        profiles: Sequence[Profile],
        extenders: Sequence[Extender],
        backoff: Backoff,
    ) -> None:
        super().__init__(view, clock, profiles, backoff)
        self.client, self.ids, self.events, self.extenders = client, ids, events, extenders
        self.held: dict[str, Held] = {}
        """By uid."""
        self.permits = Permits(self.allowed, self.turned_away)
        self.work: asyncio.Queue[Act] = asyncio.Queue(BINDINGS_MAX)
        self.extended: asyncio.Queue[Act] = asyncio.Queue(EXTENDED_MAX)
        self.slow: asyncio.Queue[Act] = asyncio.Queue(SLOW_MAX)
        self.due: list[Act] = []
        """Acts of pods that were allowed or turned away between decisions."""

    def pod_left(self, pod: Pod) -> None:
        uid = pod.metadata.uid or ""
        self.permits.turn_away(uid, "the pod was deleted")
        if uid in self.binding:
            self.give_back(pod)
        super().pod_left(pod)

    def guarded(self, entries: Sequence[Entry], decision: Callable[[], Act]) -> Act:
        """About these pods: where a rule fails none of them keeps a node, and all are tried again."""
        try:
            return decision()
        except Exception as fault:  # noqa: BLE001 - an author may raise anything
            super().rule_failed(entries[0].pod, fault)
            for entry in entries:
                self.give_back(entry.pod)
            acts = [self.failed(entry, FAULT.format(fault), FAULTY) for entry in entries]
            self.due += acts[1:]
            return acts[0]

    def rule_failed(self, pod: Pod, fault: Exception) -> None:
        """Outside its own turn, where nothing else tells the pod."""
        super().rule_failed(pod, fault)
        self.events.event(pod, "Warning", "FailedScheduling", FAULT.format(fault))

    def judged(self, pod: Pod) -> Judgement:
        return self.nominations.respected(self.judges[scheduler_of(pod)](pod))

    def settled(self, entry: Entry, judgement: Judgement, scores: Mapping[str, int] | None = None) -> Act:
        row = best(judgement, self.ids.rng, self.nominations.node_of(entry.pod), scores)
        if row is None:
            return self.refused(entry, judgement)
        node = self.snapshot.nodes[row].metadata.name or ""
        rule, why = self.taken(entry.pod, node)
        if why:
            return self.sent_back(entry, frozenset((rule,)), why)
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
        match self.permits.ask(entry.pod, node, self.profile_of(entry.pod).permit, self.clock.monotonic()):
            case TurnedAway(plugins, why):
                self.give_back(entry.pod)
                return self.sent_back(entry, plugins, why)
            case Waiting():
                held = self.held[entry.pod.metadata.uid or ""] = Held(entry, node)
                return lambda: self.tell_held(held)
        return self.to_bind(entry, lambda: self.bind(entry, node))

    async def tell_held(self, held: Held) -> None:
        try:
            await tell_expected(held.entry.pod, held.node, self.client, self.snapshot.view)
        finally:
            held.told.set()

    def allowed(self, uid: str) -> None:
        held = self.held.pop(uid)
        bind = held.then(lambda: self.bind(held.entry, held.node))
        self.due.append(self.to_bind(held.entry, bind))
        self.woken.set()

    def to_bind(self, entry: Entry, bind: Act) -> Act:
        """Where something has to be waited for first, beside the bindings that need not wait."""
        if not any(plugin.takes_time(entry.pod, self.snapshot) for plugin in self.profile_of(entry.pod).pre_bind):
            return bind
        try:
            self.slow.put_nowait(bind)
        except asyncio.QueueFull:
            self.give_back(entry.pod)
            return self.failed(entry, "too many pods wait for their volumes")
        return nothing

    def turned_away(self, uid: str, by: TurnedAway) -> None:
        held = self.held.pop(uid)
        self.due.append(held.then(lambda: self.let_go(held.entry, by)()))
        self.woken.set()

    def let_go(self, entry: Entry, by: TurnedAway) -> Act:
        self.give_back(entry.pod)
        found = self.view.get(Pod, entry.pod.metadata.name or "", entry.pod.metadata.namespace or "")
        if found is None or found.metadata.uid != entry.pod.metadata.uid or not is_waiting(found):
            return nothing
        entry.pod = found
        self.woken.set()
        return self.sent_back(entry, by.plugins, by.why)

    def sent_back(self, entry: Entry, rules: frozenset[str], why: str) -> Act:
        """By those who are asked about the chosen node: it waits for a change, as where it fits nowhere."""
        self.queue.refused(entry, rules, self.clock.monotonic())
        return lambda: self.tell(entry.pod, available(1, Counter({why: 1})), NO_ATTEMPT)

    def failed(self, entry: Entry, message: str, reason: str = UNSCHEDULABLE) -> Act:
        """It is tried again after its back-off."""
        self.queue.failed(entry, self.clock.monotonic())
        return lambda: self.tell(entry.pod, message, NO_ATTEMPT, reason)

    def refused(self, entry: Entry, judgement: Judgement) -> Act:
        pod = entry.pod
        why = refusal(pod, judgement, self.snapshot)
        self.queue.refused(entry, why.rules, self.clock.monotonic())
        attempt = self.attempted(judgement, why)
        message = f"{why.available} {attempt.message}".rstrip()
        if attempt.candidate is not None and any(one.preempt_verb and one.interested(pod) for one in self.extenders):
            return self.asked_for_victims(pod, message, attempt)
        if attempt.candidate is not None:
            self.nominate(pod, attempt.candidate)
        elif attempt.eligible:
            self.nominations.drop(pod.metadata.uid or "")
        return lambda: self.tell(pod, message, attempt)

    def attempted(self, judgement: Judgement, why: Refusal) -> Attempt:
        """By the PostFilter plugins, until one has room for the pod, or it waits for those who leave it; what those have to
        say that found none."""
        about = Refused(judgement, why, self.nominations, self.budgets, self.ids.rng, self.epoch)
        messages: list[str] = []
        attempt = NO_ATTEMPT
        for plugin in judgement.profile.post_filters:
            attempt = plugin.post_filter(about)
            if attempt.candidate is not None or attempt.writes:
                return attempt
            messages += filter(None, (attempt.message,))
            if not attempt.eligible:
                break
        return replace(attempt, message=", ".join(messages))

    def nominate(self, pod: Pod, candidate: Candidate) -> None:
        for other in self.nominations.less_important(pod, candidate.node):
            self.nominations.drop(other.metadata.uid or "")
        self.nominations.set(pod, candidate.node, candidate.victims)

    def asked_for_victims(self, pod: Pod, message: str, attempt: Attempt) -> Act:
        """Nobody is made to leave before the extenders that have a say in it were asked; beside the bindings."""
        try:
            self.extended.put_nowait(lambda: self.make_room_as_agreed(pod, message, attempt))
        except asyncio.QueueFull:
            return lambda: self.tell(pod, message, NO_ATTEMPT)
        return nothing

    async def make_room_as_agreed(self, pod: Pod, message: str, attempt: Attempt) -> None:
        try:
            left = await agreed(self.extenders, pod, attempt.candidates, self.snapshot)
        except ExtenderFailed as failure:
            log.info("pod %s/%s: %s", pod.metadata.namespace, pod.metadata.name, failure.message)
            left = ()
        entry = self.queue.entries.get(pod.metadata.uid or "")
        chosen = cheapest(left) if entry is not None else None
        if chosen is not None:
            self.nominate(pod, chosen)
        await self.tell(pod, message, Attempt(chosen, attempt.message))

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
            await self.not_bound(entry, error)
            return
        except Exception as fault:
            log.exception("pod %s/%s: it could not be bound", namespace, name)
            await self.not_bound(entry, InternalError(str(fault)))
            return
        self.events.event(pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}")

    async def not_bound(self, entry: Entry, error: ApiError) -> None:
        """The View may know better by now: a binding can succeed although its answer is lost."""
        pod = entry.pod
        uid = pod.metadata.uid or ""
        found = self.view.get(Pod, pod.metadata.name or "", pod.metadata.namespace or "")
        if found is not None and found.metadata.uid == uid and found.spec.node_name:
            return
        self.give_back(pod)
        if isinstance(error, NotFound) or found is None or found.metadata.uid != uid:
            return
        entry.pod = found
        tell = self.failed(entry, f"binding rejected: {error.message}", FAULTY)
        self.woken.set()
        if not isinstance(error, Conflict):
            await tell()

    async def tell(self, pod: Pod, message: str, attempt: Attempt, reason: str = UNSCHEDULABLE) -> None:
        node = self.nominations.node_of(pod)
        await tell_refused(pod, message, node, self.client, self.view, self.clock, self.events, reason)
        for write in attempt.writes:
            try:
                await written(write, self.client)
            except ApiError as error:
                log.info("pod %s/%s: %s", pod.metadata.namespace, pod.metadata.name, error.message)
        candidate = attempt.candidate
        if candidate and not await make_room(pod, candidate, self.client, self.clock, self.events):
            self.nominations.drop(pod.metadata.uid or "")
            self.wake(Change.POD_LEFT)
