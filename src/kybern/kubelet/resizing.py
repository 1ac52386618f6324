"""In-place resize of one pod: its allocation, kept on disk, and its cgroups, changed while it runs.

Who grows needs room in the pod's cgroup before its containers, who shrinks gives it back after them: a container may
never be allowed more than what is around it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace as changed
from itertools import starmap

import msgspec

from kybern.api.codec import encode
from kybern.api.core_v1 import Pod, PodCondition
from kybern.api.quantity import milli
from kybern.kubelet.allocation import Allocation, allocated, allocation_of, refused, summary
from kybern.kubelet.conditions import condition
from kybern.kubelet.files import read_text, replace_file
from kybern.kubelet.memory_protection import of_container
from kybern.kubelet.parts import Parts
from kybern.kubelet.plan import Action, KillContainer, ResizeContainer, StartContainer
from kybern.kubelet.qos import qos_class
from kybern.kubelet.qos_cgroups import limits_of_pod, node_memory
from kybern.kubelet.resources import PERIOD_US, UNLIMITED, pod_cgroup
from kybern.kubelet.status import Verdict
from kybern.runtime.cri import LinuxResources, RuntimeFault
from kybern.volumes.paths import pod_directory

RETRY_SECONDS = 10.0
ALONGSIDE = 'Resize is infeasible for Guaranteed Pods alongside {} Manager policy "static"'
NO_LIMITS = LinuxResources(cpu_period=PERIOD_US, cpu_quota=UNLIMITED, memory_limit_bytes=UNLIMITED)


class Resizing:
    def __init__(self, parts: Parts, pod: Pod) -> None:
        self.parts, self.uid = parts, pod.metadata.uid or ""
        self.given = self._remembered()
        self.pending: Verdict | None = None
        self.pending_since = 0.0
        self.in_progress = False
        self.error = ""
        self.applied: LinuxResources | None = None
        """The limits of the pod's cgroup; None where this kubelet has not set them yet."""
        self._known: tuple[Pod, Allocation | None, Pod] = (pod, None, pod)

    # What it is given.

    def pod(self, pod: Pod) -> Pod:
        """The pod as it was given what it asks for."""
        if self.given is None:
            return pod
        asked, given, found = self._known
        if asked is not pod or given is not self.given:
            found = allocated(pod, self.given)
            self._known = (pod, self.given, found)
        return found

    def allocate(self, pod: Pod) -> None:
        """Give it what it asks for, if that fits."""
        asked = allocation_of(pod)
        if self.given is None:
            self._give(asked)  # it was admitted with this
            return
        if asked == self.given:
            self.pending = None
            return
        verdict = refused(pod, self.given, self.parts.node.allocatable, self.parts.others(self.uid))
        verdict = self._of_exclusive(pod, asked, self.given) or verdict
        if verdict is None:
            self._give(asked)
            self.pending, self.error, self.in_progress = None, "", True
            self._tell(pod, "Normal", "Started")
        elif verdict != self.pending:
            self.pending, self.pending_since = verdict, self.parts.clock.wall()
            self._tell(pod, "Warning", verdict.reason, verdict.message)

    def _of_exclusive(self, pod: Pod, asked: Allocation, given: Allocation) -> Verdict | None:
        """What a container has for itself alone it keeps as it is."""
        if qos_class(pod) != "Guaranteed":
            return None
        exclusive = {"cpu": ("CPU", self.parts.cpus.static), "memory": ("Memory", self.parts.memory.policy.static)}
        for resource, (name, is_static) in exclusive.items():
            if is_static and requests(asked, resource) != requests(given, resource):
                return Verdict("Infeasible", ALONGSIDE.format(name))
        return None

    def _give(self, asked: Allocation) -> None:
        if self.parts.node.on_disk:
            replace_file(self._path, encode(asked))
        self.given = asked

    def _remembered(self) -> Allocation | None:
        text = read_text(self._path) if self.parts.node.on_disk else ""
        try:
            return msgspec.json.decode(text, type=Allocation) if text else None
        except msgspec.DecodeError:
            return None  # of another version: the pod runs, so what it asks for was given

    @property
    def _path(self) -> str:
        return f"{pod_directory(self.parts.config.pods_directory, self.uid)}/allocation.json"

    def conditions(self) -> tuple[PodCondition, ...]:
        found = []
        if self.pending is not None:
            found.append(condition("PodResizePending", True, self.pending.reason, self.pending.message))
        if self.in_progress:
            found.append(condition("PodResizeInProgress", True, "Error" if self.error else "", self.error))
        return tuple(found)

    # What the kernel knows of it.

    def cgroup_made(self, pod: Pod) -> None:
        """With the sandbox."""
        self.applied = limits_of_pod(self.parts, pod)

    async def carry_out(self, pod: Pod, actions: Sequence[Action]) -> bool:
        """`pod` is the allocated one. Whether a container was changed."""
        resizes = [action for action in actions if isinstance(action, ResizeContainer)]
        restarts = any(isinstance(action, KillContainer) and action.cause == "resize" for action in actions)
        wanted = limits_of_pod(self.parts, pod)
        outstanding = restarts or any(isinstance(action, StartContainer) for action in actions)
        self.in_progress |= bool(resizes or restarts)
        try:
            if resizes or self.applied != wanted:
                await self._change(pod, resizes, wanted, final=not outstanding)
        except (RuntimeFault, OSError) as fault:
            self._failed(pod, str(fault))
            return False
        if self.in_progress and not outstanding:
            self.in_progress, self.error = False, ""
            self._tell(pod, "Normal", "Completed")
            self.parts.room_made()
        return bool(resizes)

    async def _change(
        self, pod: Pod, resizes: Sequence[ResizeContainer], wanted: LinuxResources, *, final: bool
    ) -> None:
        """`final`: no container is left that has to be started for it."""
        await self._refuse_too_little(resizes)
        path = pod_cgroup(pod, self.parts.config.cgroup_root)
        found = {c.name: c for c in (*pod.spec.containers, *(pod.spec.init_containers or ()))}
        if resizes or not final:
            self.parts.cgroups.ensure(path, larger(self.applied or NO_LIMITS, wanted))
        for action in resizes:
            files = of_container(self.parts.config.protection, node_memory(self.parts), pod, found[action.name])
            await self.parts.runtime.update_container_resources(action.id, changed(action.resources, unified=files))
            await self.parts.pleg.note(action.id)
        if final:
            self.parts.cgroups.ensure(path, wanted)
            self.applied = wanted

    async def _refuse_too_little(self, resizes: Sequence[ResizeContainer]) -> None:
        """A limit below what is used would get the container killed."""
        for action in resizes:
            limit = action.resources.memory_limit_bytes
            if limit > 0:
                used = (await self.parts.runtime.container_stats(action.id)).memory_usage_bytes
                if used > limit:
                    text = f"attempting to set container {action.name!r} memory limit ({limit}) below current usage ({used})"
                    raise RuntimeFault("ResizeError", text)

    def _failed(self, pod: Pod, text: str) -> None:
        if text != self.error:
            self._tell(pod, "Warning", "Error", text)
        self.error = text

    def _tell(self, pod: Pod, kind: str, what: str, error: str = "") -> None:
        shown = what if what in ("Deferred", "Infeasible") else what.lower()
        self.parts.recorder.event(pod, kind, f"Resize{what}", f"Pod resize {shown}: {summary(pod, error)}")


def requests(given: Allocation, resource: str) -> Mapping[str, int]:
    """By container, in thousandths."""
    return {name: milli((of.requests or {}).get(resource, "0")) for name, of in given.containers.items()}


def larger(one: LinuxResources, other: LinuxResources) -> LinuxResources:
    """Limits under which both are possible."""

    def limit(here: int, there: int) -> int:
        return UNLIMITED if here <= 0 or there <= 0 else max(here, there)

    quota, memory = starmap(
        limit, ((one.cpu_quota, other.cpu_quota), (one.memory_limit_bytes, other.memory_limit_bytes))
    )
    return changed(other, cpu_quota=quota, memory_limit_bytes=memory, cpu_shares=max(one.cpu_shares, other.cpu_shares))
