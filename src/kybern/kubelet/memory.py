"""What a pod's worker remembers that neither the pod nor the runtime can tell. All of it may be lost without harm.

A value; what happens to a container makes another of it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from kybern.kubelet.restarts import RestartDelay, after_restart


@dataclass(frozen=True, slots=True)
class ProbeResults:
    """What a container's probes last decided; None where they have not, or where there are none."""

    liveness: bool | None = None
    startup: bool | None = None
    readiness: bool | None = None


NO_RESULTS = ProbeResults()


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container is not started now."""

    reason: str
    message: str
    until: float = 0.0
    """When it is tried again."""


@dataclass(frozen=True, slots=True)
class Memory:
    probes: Mapping[str, ProbeResults] = field(default_factory=dict)
    """By container id."""
    delays: Mapping[str, RestartDelay] = field(default_factory=dict)
    """By container name."""
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    """By container name: what the last attempt to start it met."""
    ended: Mapping[str, float] = field(default_factory=dict)
    """By container id: when it ended, on the clock of `now`."""
    restarts: frozenset[str] = frozenset()
    """By container id: what was ended here to be started again, whatever its exit code."""

    def not_started(self, name: str, waiting: Waiting) -> "Memory":
        return replace(self, waiting={**self.waiting, name: waiting})

    def started(self, name: str) -> "Memory":
        return replace(self, waiting={other: why for other, why in self.waiting.items() if other != name})

    def started_again(self, name: str, ended_at: float, now: float, delay_max: float) -> "Memory":
        delay = after_restart(self.delays.get(name), ended_at, now, delay_max)
        return replace(self, delays={**self.delays, name: delay})

    def ended_to_start_again(self, container_id: str, known: Iterable[str]) -> "Memory":
        """`known`: the containers that there are."""
        return replace(self, restarts=self.restarts.intersection(known) | {container_id})

    def without_old_reasons(self, now: float, wanted: Collection[str]) -> "Memory":
        """A reason to wait that is over is shown until the next attempt, and no longer than its container is wanted."""
        kept = {name: why for name, why in self.waiting.items() if why.until > now or name in wanted}
        return replace(self, waiting=kept)
