"""Pods with a node that wait for a Permit plugin's word: allowed, turned away, or turned away by time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from kybern.api.core_v1 import Pod
from kybern.scheduler.extension_points import PermitPlugin, TurnAway, Wait, WaitingPods

PERMIT_SECONDS_MAX = 15 * 60.0


@dataclass(slots=True)
class Waiting:
    pod: Pod
    ends: float
    plugins: set[str]
    """Those whose word is still out."""


@dataclass
class Permits(WaitingPods):
    allowed: Callable[[str], None]
    """Told of each pod, by uid, that all plugins have allowed."""
    turned_away: Callable[[str, str], None]
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def ask(self, pod: Pod, node: str, plugins: Iterable[PermitPlugin], now: float) -> str | None:
        """None: it may go on at once. Otherwise why it was turned away; empty where it waits."""
        waits: dict[str, float] = {}
        for plugin in plugins:
            match plugin.permit(pod, node, self):
                case TurnAway(why):
                    return why or f"turned away by {plugin.name}"
                case Wait(seconds):
                    waits[plugin.name] = min(seconds, PERMIT_SECONDS_MAX)
        if not waits:
            return None
        self.waiting[pod.metadata.uid or ""] = Waiting(pod, now + min(waits.values()), set(waits))
        return ""

    def allow(self, uid: str) -> None:
        if self.waiting.pop(uid, None) is not None:
            self.allowed(uid)

    def turn_away(self, uid: str, why: str) -> None:
        if self.waiting.pop(uid, None) is not None:
            self.turned_away(uid, why)

    def pods(self) -> Sequence[Pod]:
        return [waiting.pod for waiting in self.waiting.values()]

    def flush(self, now: float) -> None:
        for uid, waiting in list(self.waiting.items()):
            if waiting.ends <= now:
                self.turn_away(uid, f"timed out waiting on permit by {', '.join(sorted(waiting.plugins))}")

    def seconds_to_wait(self, now: float) -> float | None:
        return max(0.0, min(waiting.ends for waiting in self.waiting.values()) - now) if self.waiting else None
