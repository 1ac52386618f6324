"""What the scheduler knows, kept up with the View: nodes and pods as columns, who waits for what, what is promised.

Every change that may make room is told to the queue, which wakes those whom it concerns.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.api.core_v1 import Namespace, Node, Pod
from kybern.api.policy_v1 import PodDisruptionBudget
from kybern.api.resource_v1 import DeviceClass, ResourceClaim
from kybern.api.storage_v1 import VolumeAttachment
from kybern.client import View
from kybern.client.cache import controller_uid
from kybern.reconcile.resource_claims import is_for_extended_resources
from kybern.scheduler.changes import change_of, concerns_scheduling
from kybern.scheduler.extended_resources import key_of
from kybern.scheduler.extension_points import PreEnqueuePlugin, Profile
from kybern.scheduler.followed import DEVICES, VOLUMES, Followed
from kybern.scheduler.framework import Change
from kybern.scheduler.gangs import Gangs, GangScheduling
from kybern.scheduler.groups import FOLLOWED, group_of
from kybern.scheduler.judgement import Judge
from kybern.scheduler.nominations import Nominations
from kybern.scheduler.queue import Entry, SchedulingQueue, always, by_priority
from kybern.scheduler.refusal import woken_by
from kybern.scheduler.shares import NO_SHARE, share_of
from kybern.scheduler.snapshot import Snapshot
from kybern.scheduler.status import is_waiting, scheduler_of

log = logging.getLogger(__name__)


class Knowledge:
    def __init__(self, view: View, clock: Clock, profiles: Sequence[Profile], backoff: Backoff) -> None:
        self.view, self.clock = view, clock
        self.snapshot = Snapshot()
        self.snapshot.view = Followed(view, clock)
        self.snapshot.group_of = lambda pod: group_of(pod, view)
        self.profiles = {profile.scheduler_name: profile for profile in profiles}
        self.judges = {profile.scheduler_name: Judge(self.snapshot, profile) for profile in profiles}
        self.rules = {plugin.name: plugin for profile in profiles for plugin in profile.filters}
        self.gates = {plugin.name: plugin.wakes_on for profile in profiles for plugin in profile.pre_enqueue}
        self.gangs = Gangs()
        sort = next((profile.queue_sort for profile in profiles if profile.queue_sort), None)
        self.queue = SchedulingQueue(
            woken_by(profiles),
            gate=self.keeper_of,
            sort_key=sort.sort_key if sort else by_priority,
            backoff=backoff,
        )
        self.nominations = Nominations()
        self.epoch = 0
        """Of the disruption budgets: how often one of them changed."""
        self.binding: set[str] = set()
        """Pods by uid whose binding is under way, or acknowledged and not yet seen in the View."""
        self.asking: dict[str, Entry] = {}
        """Pods by uid about which extenders are being asked."""
        self.woken = asyncio.Event()

    async def follow(self) -> None:
        """The View is somebody else's to run."""
        for kind in (Namespace, Node, Pod, PodDisruptionBudget, *FOLLOWED, *VOLUMES, *DEVICES):
            self.view.watch_kind(kind)
        await self.view.synced()
        self.view.on_change(Namespace, self.namespace_changed)
        self.view.on_change(PodDisruptionBudget, self.budget_changed)
        for kind in VOLUMES:
            self.view.on_change(kind, self.volume_changed)
        for kind in DEVICES:
            self.view.on_change(kind, self.device_changed)
        await self.view.on_change_of_many(Node, self.node_changed)
        await self.view.on_change_of_many(Pod, self.pod_changed)

    def namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        """Its labels decide whose terms mean its pods, its annotations what share its pods have."""
        known = new or old
        name = known.metadata.name or "" if known else ""
        share = share_of(new.metadata.annotations or {}) if new else NO_SHARE
        if share != self.snapshot.shares.pop(name, NO_SHARE):
            self.wake(Change.POD_LEFT | Change.NODE_ALLOCATABLE)
        if share != NO_SHARE:
            self.snapshot.shares[name] = share
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

    def volume_changed(self, old: Any, new: Any) -> None:
        self.snapshot.attachments.changed(old, new)
        if not isinstance(new, VolumeAttachment):  # one that goes leaves room
            self.wake(Change.VOLUME)

    def device_changed(self, old: Any, new: Any) -> None:
        known = new or old
        if isinstance(known, DeviceClass):
            self.snapshot.layout += 1  # what was judged of resources that a class stands for holds no more
            self.wake(Change.DEVICE_CLASS | Change.DEVICE)
            return
        if isinstance(known, ResourceClaim) and (new is None or new.status.allocation is not None):
            self.snapshot.devices.pop(known.metadata.uid or "", None)
            if is_for_extended_resources(known):
                self.snapshot.devices.pop(key_of(controller_uid(known)), None)
        self.wake(Change.DEVICE)

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.snapshot.remove_node(old.metadata.name or "")
                self.wake(Change.NODE_REMOVED)
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
            self.gangs.join(new)
            self.pod_placed(new, new.spec.node_name)
        elif not is_waiting(new) or scheduler_of(new) not in self.judges:
            self.pod_left(new)
        elif uid in self.asking:
            self.asking[uid].pod = new
        elif uid not in self.binding:
            if self.gangs.join(new):
                self.queue.knock(GangScheduling.name)
            self.follow_promise(new, (old.status.nominated_node_name or "") if old and old.metadata.uid == uid else "")
            self.queue.add(new, self.clock.monotonic())
            self.woken.set()

    def follow_promise(self, pod: Pod, before: str) -> None:
        """What its status says, be it our own word or that of somebody who has made a node for it."""
        node, known = pod.status.nominated_node_name or "", self.nominations.node_of(pod)
        if node and node not in (before, known):
            self.nominations.set(pod, node)
        elif before and not node and known == before:
            self.nominations.drop(pod.metadata.uid or "")
            self.wake(Change.POD_LEFT)

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
        self.asking.pop(uid, None)
        self.gangs.leave(pod)
        promised = uid in self.nominations.by_uid
        self.nominations.drop(uid)
        if self.snapshot.remove_pod(uid) or promised:
            self.wake(Change.POD_LEFT, pod)

    def wake(self, change: Change, about: Pod | None = None) -> None:
        if not change:
            return

        def hint(rule: str, pod: Pod) -> bool:
            plugin = self.rules.get(rule)
            try:
                return plugin is None or about is None or plugin.hint(pod, change, about, self.snapshot)
            except Exception as fault:  # noqa: BLE001 - whoever cannot say is tried: that another pod came or went goes on
                self.rule_failed(pod, fault)
                return True

        self.queue.changed(change, self.clock.monotonic(), always if about is None else hint)
        for name, wakes_on in self.gates.items():
            if change & wakes_on:
                self.queue.knock(name)
        self.woken.set()

    def keeper_of(self, pod: Pod) -> str:
        """The PreEnqueue plugin that keeps a pod out of the queue."""
        gates: tuple[PreEnqueuePlugin, ...] = (GangScheduling(self.gangs), *self.profile_of(pod).pre_enqueue)
        return next((plugin.name for plugin in gates if self.keeps_out(plugin, pod)), "")

    def keeps_out(self, plugin: PreEnqueuePlugin, pod: Pod) -> bool:
        try:
            return bool(plugin.pre_enqueue(pod, self.snapshot))
        except Exception as fault:  # noqa: BLE001 - an author may raise anything
            self.rule_failed(pod, fault)
            return True

    def rule_failed(self, pod: Pod, fault: Exception) -> None:
        """A fault in a rule is the trouble of the pod that met it; the others go on."""
        log.error("pod %s/%s: a rule failed", pod.metadata.namespace, pod.metadata.name, exc_info=fault)

    def profile_of(self, pod: Pod) -> Profile:
        return self.profiles[scheduler_of(pod)]
