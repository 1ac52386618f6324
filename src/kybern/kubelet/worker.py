"""One worker for each pod: it compares what the pod asks for with what was observed, acts, and looks again.

It is woken by a changed pod, a runtime event, a probe's decision, a finished pull or a timer, never told which. What it
remembers may be lost at any moment: everything else is in the API and in the runtime. Its life is `lifecycle.TRANSITIONS`.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace as changed

from msgspec.structs import replace

from kybern.aio.backoff import Backoff
from kybern.aio.clock import from_rfc3339
from kybern.aio.timeouts import timeout
from kybern.api.core_v1 import Pod
from kybern.kubelet.containers import field_path, find
from kybern.kubelet.dead import bury
from kybern.kubelet.ending import Ending
from kybern.kubelet.faults import FAULTS, first_expected, told
from kybern.kubelet.lifecycle import Fact, Stage, step
from kybern.kubelet.manifests import is_static
from kybern.kubelet.memory import Memory, Waiting
from kybern.kubelet.mounting import Mounting
from kybern.kubelet.observed import Observed, ip_of
from kybern.kubelet.parts import Parts
from kybern.kubelet.pausing import Pausing
from kybern.kubelet.phase import TERMINAL
from kybern.kubelet.plan import (
    CreateSandbox,
    KillContainer,
    Plan,
    ResizeContainer,
    StartContainer,
    StopPod,
    is_started_again,
    plan,
)
from kybern.kubelet.probes.checks import check, check_simulated
from kybern.kubelet.probes.prober import Prober, inherited
from kybern.kubelet.removal import give_back, remove_from_api, remove_from_runtime
from kybern.kubelet.resizing import RETRY_SECONDS, Resizing
from kybern.kubelet.restarts import ends_seen
from kybern.kubelet.sandbox_config import grace_of
from kybern.kubelet.starting import NotStarted, Starting
from kybern.kubelet.status import Circumstances, Verdict, pod_status, rejected
from kybern.kubelet.status_writer import StatusWriter
from kybern.kubelet.stopping import Stopping
from kybern.reconcile.pausing import is_paused

FAULT_BACKOFF = Backoff(first_seconds=0.5, max_seconds=30.0)
SANDBOX_CHANGED = "Pod sandbox changed, it will be killed and re-created."
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"

RECHECK_SECONDS = 1.0
HOOK_SECONDS_MIN = 1.0  # what a preStop hook has, even where no time at all was given

log = logging.getLogger(__name__)


class PodWorker:
    def __init__(self, parts: Parts, pod: Pod, refused: Verdict | None = None, orphaned: bool = False) -> None:
        """`refused`: the node will not run it. `orphaned`: the API has no such pod, only the runtime does."""
        self.parts = parts
        self.pod = pod
        self.seen_at = parts.objects.now()
        self.stage = Stage.SYNCING
        self.refused = refused
        self.verdict: Verdict | None = None
        self.grace_max = float("inf")
        self.over = asyncio.Event()
        """Nothing of it runs any more, and what it used is given back."""
        self.gone = orphaned
        self.memory = Memory()
        self.waiting: dict[str, Waiting] = {}
        self.faults = 0
        self.mounting = Mounting(parts, pod)
        self.wake = asyncio.Event()
        self.ending = Ending()
        self.writer = StatusWriter(parts.client, parts.clock, pod)
        self.writer.gone = orphaned
        self.writer.absent = is_static(pod)
        checked = check if parts.node.pods_reachable else check_simulated
        self.prober = Prober(parts.runtime, parts.recorder, parts.clock, parts.ids, self.notify, checked)
        self.resizing = Resizing(parts, pod)
        self.pausing = Pausing(parts)
        self.stopping = Stopping(parts)
        self.starting = Starting(parts, self.stopping)
        self.inherited = inherited(pod, self.observed)

    # What others tell the worker.

    @property
    def uid(self) -> str:
        return self.pod.metadata.uid or ""

    @property
    def allocated(self) -> Pod:
        """The pod with the resources it was given, which may not be those it asks for by now."""
        return self.resizing.pod(self.pod)

    @property
    def observed(self) -> Observed:
        return self.parts.pleg.of(self.uid)

    def update(self, pod: Pod) -> None:
        """The pod changed in the API."""
        grace_before = self._grace()
        self.pod = pod
        self.writer.rebase(pod)
        self.mounting.update(pod)
        if pod.metadata.deletion_timestamp is not None and (
            self.stage is Stage.SYNCING or self._grace() < grace_before
        ):
            self.ending.tell()
        self.notify()

    def remove(self) -> None:
        """The API has no such pod any more."""
        self.gone = self.writer.gone = True
        if self.stage is Stage.SYNCING:
            self.ending.tell()
        self.notify()

    def evict(self, verdict: Verdict, grace_seconds: float) -> None:
        """The node needs what it uses."""
        if self.stage is Stage.SYNCING and self.verdict is None:
            self.verdict, self.grace_max = verdict, grace_seconds
            self.ending.tell()
            self.notify()

    async def until_over(self, seconds: float) -> bool:
        """Whether it was in time."""
        try:
            async with timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return False
        return True

    def notify(self) -> None:
        """Something may have changed: look again."""
        if self.stage is not Stage.SYNCING:
            self._show()
        self.wake.set()

    # Its life.

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self.writer.run())
            refreshing = tasks.create_task(self.mounting.keep_fresh())
            while self.stage is not Stage.FINISHED:
                await self._pass(tasks)
            self.prober.stop()
            refreshing.cancel()
            writing.cancel()

    async def _pass(self, tasks: asyncio.TaskGroup) -> None:
        self.wake.clear()
        try:
            match self.stage:
                case Stage.SYNCING:
                    await self._sync(tasks)
                case Stage.TERMINATING:
                    await self._terminate()
                case Stage.TERMINATED:
                    await self._clean_up()
                case Stage.FINISHED:
                    return
            self.faults = 0
        except FAULTS as fault:
            await self._after_fault(fault)
        except ExceptionGroup as faults:
            expected = first_expected(faults)
            if expected is None:
                raise
            await self._after_fault(expected)

    async def _after_fault(self, fault: Exception) -> None:
        """Tell, and wait a little longer each time; news cuts the waiting short only where the pod is to end."""
        self.faults += 1
        self.seen_at = self.parts.objects.now()  # answers from before count no more
        reason, text = told(fault, self.stage)
        meta = self.pod.metadata
        log.info("pod %s/%s: %s: %s", meta.namespace, meta.name, reason, text)
        if not self.gone:
            self.parts.recorder.event(self.pod, "Warning", reason, text)
        await self._wait(FAULT_BACKOFF.delay(self.faults), self.ending.told if self.stage is Stage.SYNCING else None)

    def _enter(self, fact: Fact) -> None:
        self.stage = step(self.stage, fact)
        self.wake.set()

    # SYNCING

    async def _sync(self, tasks: asyncio.TaskGroup) -> None:
        wall, now = self.parts.clock.wall(), self.parts.clock.monotonic()
        if self._is_over(wall):
            self._enter(Fact.ENDED)
            return
        observed = self.observed
        paused = is_paused(self.pod)
        self.pausing.enforce(self.pod, observed, self.prober, paused=paused)
        if paused and observed.running:
            self.memory = changed(self.memory, probes=dict(self.prober.results))
            self._show()
            await self._wait(self._deadline() - wall)
            return
        pod_ip = ip_of(self.pod, observed, self.parts.config.node_ips)
        self.prober.follow(tasks, self.pod, observed, pod_ip, self.inherited)
        ended = ends_seen(self.memory.ended, observed.containers, wall, now)
        self.memory = changed(self.memory, probes=dict(self.prober.results), ended=ended)
        self.resizing.allocate(self.pod)
        planned = plan(self.allocated, observed, now, self.memory)
        wanted = {action.name for action in planned.actions if isinstance(action, StartContainer)}
        self.memory = self.memory.without_old_reasons(now, wanted)
        self._tell_of_backoff(planned.waiting)
        self.waiting = dict(planned.waiting)
        self._show()
        if planned.finished:
            self._enter(Fact.ENDED)
        elif not await self._carry_out(planned, observed):
            await self._wait(min(self._deadline() - wall, self._wakes_at(planned) - now))
        elif self.observed == observed:
            await self._wait(RECHECK_SECONDS)  # the runtime did not do what it said it did

    def _wakes_at(self, planned: Plan) -> float:
        again = self.parts.clock.monotonic() + RETRY_SECONDS if self.resizing.error else float("inf")
        return min(planned.wakes_at or float("inf"), again)

    def _is_over(self, now: float) -> bool:
        if self.gone or self.refused or self.pod.metadata.deletion_timestamp is not None:
            return True
        if self.pod.status.phase in TERMINAL:
            return True
        if self.verdict is None and self._deadline() <= now:
            self.verdict = Verdict("DeadlineExceeded", DEADLINE_MESSAGE)
            self.parts.recorder.event(self.pod, "Normal", "DeadlineExceeded", DEADLINE_MESSAGE)
        return self.verdict is not None

    def _deadline(self) -> float:
        seconds = self.pod.spec.active_deadline_seconds
        started = self.writer.wanted.start_time
        return from_rfc3339(started) + seconds if seconds is not None and started else float("inf")

    def _tell_of_backoff(self, waiting: Mapping[str, Waiting]) -> None:
        """Once for each time that a container has to wait."""
        meta = self.pod.metadata
        for name, why in waiting.items():
            if why.reason == "CrashLoopBackOff" and self.waiting.get(name) != why:
                text = f"Back-off restarting failed container {name} in pod {meta.name}_{meta.namespace}({meta.uid})"
                where = field_path(self.pod, name)
                self.parts.recorder.event(self.pod, "Warning", "BackOff", text, field_path=where)

    async def _carry_out(self, planned: Plan, observed: Observed) -> bool:
        """Whether anything was done that makes a new look worth it."""
        done = False
        if observed.ready_sandbox is not None and not any(isinstance(a, StopPod) for a in planned.actions):
            shown = self.resizing.conditions()
            done = await self.resizing.carry_out(self.allocated, planned.actions)
            if self.resizing.conditions() != shown:
                self._show()
        for action in planned.actions:
            if self.ending.told.is_set():
                return True
            match action:
                case KillContainer():
                    await self.ending.unless(self.stopping.kill(self.allocated, observed, action))
                    self._note_killed(action)
                    done = True
                case StopPod():
                    if not planned.finished:
                        self.parts.recorder.event(self.pod, "Normal", "SandboxChanged", SANDBOX_CHANGED)
                    await self.stopping.stop_pod(self.pod, observed, float(grace_of(self.pod)))
                    done = True
                case CreateSandbox():
                    await self._prepare_volumes()
                    if self.ending.told.is_set():
                        return True
                    await self.starting.create_sandbox(self.allocated, action.attempt)
                    self.resizing.cgroup_made(self.allocated)
                    self._show()
                    done = True
                case ResizeContainer():
                    pass  # all of them together, before
                case StartContainer():
                    done |= await self._start(action.name)
        return done

    async def _prepare_volumes(self) -> None:
        await self.ending.unless(self.mounting.prepare(self.observed, self.seen_at))
        if self.parts.node.on_disk:
            await self.ending.unless(self.parts.claims.prepare(self.pod))

    async def _start(self, name: str) -> bool:
        """Whether the container was started, or the attempt came far enough to change what is observed."""
        await self._prepare_volumes()
        if self.ending.told.is_set():
            return True
        ended = self.observed.latest(name)
        try:
            await self.ending.unless(self.starting.start(self.allocated, name, self.observed, self.seen_at))
        except NotStarted as not_started:
            if not_started.waiting is not None:
                self.memory = self.memory.not_started(name, not_started.waiting)
                self.wake.set()
            started = self.observed.latest(name) != ended
        else:
            self.waiting.pop(name, None)
            self.memory = self.memory.started(name)
            started = True
        if started and ended is not None:
            now = self.parts.clock.monotonic()
            ended_at, longest = self.memory.ended.get(ended.id, 0.0), self.parts.config.crash_seconds_max
            self.memory = self.memory.started_again(name, ended_at, now, longest)
            await bury(self.parts, self.uid)
        self._show()
        return started

    def _note_killed(self, action: KillContainer) -> None:
        container = find(self.pod, action.name)
        if container is not None and is_started_again(self.pod, container, action.cause):
            known = (status.id for status in self.observed.containers)
            self.memory = self.memory.ended_to_start_again(action.id, known)

    # TERMINATING

    async def _terminate(self) -> None:
        self.ending.told.clear()
        self.pausing.enforce(self.pod, self.observed, self.prober, paused=False)  # who is frozen hears no signal
        self.prober.stop_killing()
        self._show()
        observed = self.observed
        alive = bool(observed.running) or observed.ready_sandbox is not None
        if alive and not await self.ending.unless(self.stopping.stop_pod(self.pod, observed, self._grace())):
            return  # the grace period has become shorter
        if self.observed.running:
            await self._wait(RECHECK_SECONDS)
        else:
            self._enter(Fact.STOPPED)

    def _grace(self) -> float:
        """What deletion says, else what the pod says; less where it was evicted."""
        asked = self.pod.metadata.deletion_grace_period_seconds
        return max(min(float(grace_of(self.pod) if asked is None else asked), self.grace_max), HOOK_SECONDS_MIN)

    # TERMINATED

    async def _clean_up(self) -> None:
        """Volumes and cgroup go at once; containers and logs stay until the pod is deleted."""
        self.prober.stop()
        self._show()
        await give_back(self.parts, self.pod, self.mounting)
        self.over.set()
        if not self.gone and self.pod.metadata.deletion_timestamp is None:
            await self._wait(None)
            return
        await self.writer.flush()
        await remove_from_runtime(self.parts, self.pod)
        if not self.gone and not is_static(self.pod):
            await remove_from_api(self.parts, self.pod)
        self._enter(Fact.REMOVED)

    # What every stage needs.

    def _show(self) -> None:
        """Make the status what is known now."""
        base = replace(self.allocated, status=self.writer.wanted)
        now = self.parts.clock.wall()
        if self.refused is not None:
            self.writer.want(rejected(base, self.refused, now))
            return
        around = Circumstances(
            host_ips=self.parts.config.node_ips,
            memory=changed(self.memory, probes=dict(self.prober.results)),
            waiting=self.waiting,
            verdict=self.verdict,
            terminal=self.stage is Stage.TERMINATED,
            devices={c.name: self.parts.devices.statuses(self.uid, c.name) for c in self.pod.spec.containers},
            resize=self.resizing.conditions() if self.stage is Stage.SYNCING else (),
        )
        self.writer.want(pod_status(base, self.observed, now, around))

    async def _wait(self, seconds: float | None, event: asyncio.Event | None = None) -> None:
        """For news, or until the time has come; without a time where it is infinite."""
        never = seconds is None or seconds == float("inf")
        try:
            async with timeout(None if never else seconds):
                await (event or self.wake).wait()
        except TimeoutError:
            pass
