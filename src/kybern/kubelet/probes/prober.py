"""The probes of one pod: a task for each probe of each running container.

- Nothing else is asked until the startup probe has succeeded.
- A container is not ready before its readiness probe says so, and alive until its liveness probe says not.
- A container that already ran when this kubelet started keeps what the API says of it until its probes have spoken, and
  its probes begin spread over a period, so that a restart is no storm.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Container, EphemeralContainer, Pod, Probe
from kybern.client.events import Recorder
from kybern.kubelet.container_status import identity
from kybern.kubelet.containers import field_path
from kybern.kubelet.memory import NO_RESULTS, ProbeResults
from kybern.kubelet.observed import Observed
from kybern.kubelet.probes.checks import Check, Checked, Outcome, check
from kybern.kubelet.probes.counting import Run, count
from kybern.kubelet.restarts import is_sidecar
from kybern.runtime.cri import ContainerState, ContainerStatus, Runtime

KINDS = ("startup", "liveness", "readiness")
COUNTED = {
    Outcome.SUCCESS: "successful",
    Outcome.WARNING: "successful",
    Outcome.FAILURE: "failed",
    Outcome.UNKNOWN: "unknown",
}
TITLES = {"startup": "Startup", "liveness": "Liveness", "readiness": "Readiness"}


@dataclass(frozen=True, slots=True)
class Inherited:
    """What the API says of a container that ran before this kubelet did."""

    started: bool
    ready: bool


def inherited(pod: Pod, observed: Observed) -> dict[str, Inherited]:
    """By container id: those that ran before this kubelet."""
    groups = (pod.status.container_statuses, pod.status.init_container_statuses)
    known = {status.container_id: status for group in groups for status in group or ()}
    found = {status.id: known.get(identity(status.id)) for status in observed.running}
    return {key: Inherited(bool(s and s.started), bool(s and s.ready)) for key, s in found.items()}


class Prober:
    def __init__(
        self,
        runtime: Runtime,
        recorder: Recorder,
        clock: Clock,
        ids: Ids,
        changed: Callable[[], None],
        check: Check = check,
    ) -> None:
        self.check = check
        self.runtime, self.recorder, self.clock, self.ids, self.changed = runtime, recorder, clock, ids, changed
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """By container name, kind of probe and outcome."""
        self.results: dict[str, ProbeResults] = {}
        """By container id."""
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._startup: dict[str, asyncio.Event] = {}

    def follow(
        self, tasks: asyncio.TaskGroup, pod: Pod, observed: Observed, pod_ip: str, inherited: Mapping[str, Inherited]
    ) -> None:
        """Start and end tasks so that just the running containers are probed.

        `inherited`: the containers, by id, that ran before this kubelet did.
        """
        running = {status.id for status in observed.running if status.state is ContainerState.RUNNING}
        for key in [key for key in self._tasks if key[0] not in running]:
            self._tasks.pop(key).cancel()
            self._startup.pop(key[0], None)
        for gone in self.results.keys() - {status.id for status in observed.containers}:
            del self.results[gone]
        for container in probed_containers(pod):
            status = observed.latest(container.name)
            if status is not None and status.id in running:
                self._start(tasks, pod, container, status, pod_ip, inherited)

    def _start(
        self,
        tasks: asyncio.TaskGroup,
        pod: Pod,
        container: Container,
        status: ContainerStatus,
        pod_ip: str,
        inherited: Mapping[str, Inherited],
    ) -> None:
        before = inherited.get(status.id)
        for kind in KINDS:
            probe = probe_of(container, kind)
            key = (status.id, kind)
            if probe is None or key in self._tasks:
                continue
            if kind == "startup" and before is not None and before.started:
                self._decide(status.id, "startup", True)
                continue
            if kind == "readiness" and before is not None:
                self._decide(status.id, "readiness", before.ready)
            subject = _Subject(pod, container, status, pod_ip, before is not None)
            self._tasks[key] = tasks.create_task(self._probe(kind, probe, subject))

    async def _probe(self, kind: str, probe: Probe, subject: "_Subject") -> None:
        """Until it is cancelled, or has nothing more to say about this container."""
        started = self._startup.setdefault(subject.status.id, asyncio.Event())
        if kind != "startup" and probe_of(subject.container, "startup") and not self._has_started(subject.status.id):
            await started.wait()
        await self.clock.sleep(self._first_delay(probe, subject))
        run = Run(decided=None)
        while True:
            checked = await self.check(probe, self.runtime, subject.container, subject.status.id, subject.pod_ip)
            self.counts[subject.container.name, TITLES[kind], COUNTED[checked.outcome]] += 1
            self._tell(kind, checked, subject)
            run = count(run, checked.outcome, probe)
            if run.decided is not None:
                self._decide(subject.status.id, kind, run.decided)
            if kind == "startup" and run.decided is True:
                started.set()
                return
            if kind != "readiness" and run.decided is False:
                return  # the container is on its way out; its successor is probed anew
            await self.clock.sleep(float(probe.period_seconds or 10))

    def _has_started(self, container_id: str) -> bool:
        return self.results.get(container_id, NO_RESULTS).startup is True

    def _first_delay(self, probe: Probe, subject: "_Subject") -> float:
        ran = self.clock.wall() - subject.status.started_at
        rest = max(float(probe.initial_delay_seconds or 0) - max(ran, 0.0), 0.0)
        spread = self.ids.rng.random() * float(probe.period_seconds or 10) if subject.inherited else 0.0
        return rest + spread

    def _decide(self, container_id: str, kind: str, value: bool) -> None:
        before = self.results.get(container_id, NO_RESULTS)
        after = replace(before, **{kind: value})
        if after != before:
            self.results[container_id] = after
            self.changed()

    def _tell(self, kind: str, checked: Checked, subject: "_Subject") -> None:
        texts = {
            Outcome.FAILURE: ("Unhealthy", f"{TITLES[kind]} probe failed: {checked.output}"),
            Outcome.UNKNOWN: (
                "Unhealthy",
                f"{TITLES[kind]} probe errored and resulted in unknown state: {checked.output}",
            ),
            Outcome.WARNING: ("ProbeWarning", f"{TITLES[kind]} probe warning: {checked.output}"),
        }
        if checked.outcome in texts:
            reason, text = texts[checked.outcome]
            where = field_path(subject.pod, subject.container.name)
            self.recorder.event(subject.pod, "Warning", reason, text, field_path=where)

    def stop_killing(self) -> None:
        """A pod that ends is not to be judged alive any more; whether it is ready still matters to who sends it work."""
        for key in [key for key in self._tasks if key[1] != "readiness"]:
            self._tasks.pop(key).cancel()

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._tasks.clear()


class _Subject:
    __slots__ = ("container", "inherited", "pod", "pod_ip", "status")

    def __init__(self, pod: Pod, container: Container, status: ContainerStatus, pod_ip: str, inherited: bool) -> None:
        self.pod, self.container, self.status, self.pod_ip, self.inherited = pod, container, status, pod_ip, inherited


def probed_containers(pod: Pod) -> tuple[Container, ...]:
    """App containers and sidecars; what runs once has nothing to be asked."""
    return (*(c for c in pod.spec.init_containers or () if is_sidecar(c)), *pod.spec.containers)


def probe_of(container: Container | EphemeralContainer, kind: str) -> Probe | None:
    probes = {
        "startup": container.startup_probe,
        "liveness": container.liveness_probe,
        "readiness": container.readiness_probe,
    }
    return probes[kind]
