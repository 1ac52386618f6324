"""Failed daemons: how long a failed pod stays before it is replaced, longer each time it fails on its node again.

Where a kubelet refuses a pod, the controller would otherwise fight it in a hot loop. What is remembered is lost with the
process, which then only tries once too early.
"""

from collections import defaultdict
from dataclasses import dataclass

from kybern.aio.backoff import Backoff
from kybern.api.apps_v1 import DaemonSet
from kybern.reconcile import Key

RETRY = Backoff(first_seconds=1.0, max_seconds=900.0)
FORGOTTEN_SECONDS = 2 * RETRY.max_seconds


@dataclass(frozen=True, slots=True)
class Failed:
    times: int
    at: float


Where = tuple[str, int, str]
"""The DaemonSet's uid and observed generation, and the node: a new template starts anew."""


class Failures:
    def __init__(self) -> None:
        self._of: dict[Key, dict[Where, Failed]] = defaultdict(dict)

    def wait(self, daemonset: DaemonSet, node: str, now: float) -> float:
        """Seconds until a failed pod on this node may be replaced."""
        known = self._of[Key.of(daemonset)].get(where(daemonset, node))
        if known is None or now - known.at > FORGOTTEN_SECONDS:
            return 0.0
        return max(known.at + RETRY.delay(known.times) - now, 0.0)

    def note(self, daemonset: DaemonSet, node: str, now: float) -> None:
        """One is replaced now."""
        recent = {at: one for at, one in self._of[Key.of(daemonset)].items() if now - one.at <= FORGOTTEN_SECONDS}
        known = recent.get(where(daemonset, node))
        recent[where(daemonset, node)] = Failed(known.times + 1 if known is not None else 1, now)
        self._of[Key.of(daemonset)] = recent

    def forget(self, key: Key) -> None:
        self._of.pop(key, None)


def where(daemonset: DaemonSet, node: str) -> Where:
    return (daemonset.metadata.uid or "", daemonset.status.observed_generation or 0, node)
