"""Pods with a node that wait for a Permit plugin's word: allowed, turned away, or turned away by time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import PermitPlugin, TurnAway, Wait, WaitingPods

PERMIT_SECONDS_MAX = 15 * 60.0


@dataclass(slots=True)
class Waiting:
    pod: Pod
    seconds: Mapping[str, float]
    """The plugins whose word is still out, and how long it is waited for."""
    since: float

    @property
    def ends(self) -> float:
        return self.since + min(self.seconds.values())


@dataclass(frozen=True, slots=True)
class Refused:
    plugins: frozenset[str]
    why: str


@dataclass
class Permits(WaitingPods):
    allowed: Callable[[str], None]
    """Told of each pod, by uid, that all plugins have allowed."""
    turned_away: Callable[[str, Refused], None]
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def ask(self, pod: Pod, node: str, plugins: Iterable[PermitPlugin], now: float) -> Refused | Waiting | None:
        """None: it may go on at once."""
        waits: dict[str, float] = {}
        for plugin in plugins:
            match plugin.permit(pod, node, self):
                case TurnAway(why):
                    return Refused(frozenset((plugin.name,)), why or f"turned away by {plugin.name}")
                case Wait(seconds):
                    waits[plugin.name] = min(seconds, PERMIT_SECONDS_MAX)
        if not waits:
            return None
        found = self.waiting[pod.metadata.uid or ""] = Waiting(pod, waits, now)
        return found

    def allow(self, uid: str) -> None:
        if self.waiting.pop(uid, None) is not None:
            self.allowed(uid)

    def turn_away(self, uid: str, why: str) -> None:
        known = self.waiting.pop(uid, None)
        if known is not None:
            self.turned_away(uid, Refused(frozenset(known.seconds), why))

    def pods(self) -> Sequence[Pod]:
        return [waiting.pod for waiting in self.waiting.values()]

    def flush(self, now: float) -> None:
        for uid, waiting in list(self.waiting.items()):
            if waiting.ends <= now:
                plugin, seconds = min(waiting.seconds.items(), key=lambda one: one[1])
                self.turn_away(uid, f"rejected due to timeout after waiting {seconds:g}s at plugin {plugin}")

    def seconds_to_wait(self, now: float) -> float | None:
        return max(0.0, min(waiting.ends for waiting in self.waiting.values()) - now) if self.waiting else None
