"""Zones: how fast nodes that have failed may lose their pods, by how much of their zone has failed with them.

One node at a time, ten seconds apart, since others have to take what it ran. Where half of a zone has failed the fault is
more likely in what connects it: a small zone loses nothing then, a large one slowly. Where every zone has failed whole, the
fault is here, and nobody loses anything.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kybern.api.core_v1 import Node
from kybern.reconcile.nodes import node_is_ready

PER_SECOND = 0.1
PER_SECOND_DISRUPTED = 0.01
UNHEALTHY_SHARE = 0.55
LARGE_ZONE_NODES = 50
EXCLUDED = "node.kubernetes.io/exclude-disruption"
FEW_NODES = 2
COUNTED_SECONDS_MAX = 0.5

NORMAL, PARTIAL, FULL = "Normal", "PartialDisruption", "FullDisruption"


@dataclass(frozen=True, slots=True)
class Zone:
    nodes: int
    state: str

    @property
    def per_second(self) -> float:
        """How many nodes may lose their pods in a second."""
        if self.state != PARTIAL:
            return PER_SECOND
        return PER_SECOND_DISRUPTED if self.nodes > LARGE_ZONE_NODES else 0.0


def zone_of(node: Node) -> str:
    labels = node.metadata.labels or {}
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def zones(nodes: Iterable[Node]) -> dict[str, Zone]:
    counts: dict[str, tuple[int, int]] = {}
    for node in (node for node in nodes if EXCLUDED not in (node.metadata.labels or {})):
        ready, other = counts.get(zone_of(node), (0, 0))
        counts[zone_of(node)] = (ready + 1, other) if node_is_ready(node) else (ready, other + 1)
    return {name: Zone(ready + other, state_of(ready, other)) for name, (ready, other) in counts.items()}


def state_of(ready: int, other: int) -> str:
    if not ready and other:
        return FULL
    return PARTIAL if other > FEW_NODES and other / (ready + other) >= UNHEALTHY_SHARE else NORMAL


def all_disrupted(found: dict[str, Zone]) -> bool:
    return bool(found) and all(zone.state == FULL for zone in found.values())


UNCOUNTED = Zone(0, NORMAL)  # all of its nodes are left out


@dataclass(slots=True)
class Limiter:
    """How the zones are, as of a moment ago, and whose turn it is in each."""

    last: dict[str, float] = field(default_factory=dict)
    zones: dict[str, Zone] = field(default_factory=dict)
    counted_at: float = float("-inf")

    def count(self, nodes: Callable[[], Iterable[Node]], now: float) -> dict[str, Zone]:
        """When thousands of nodes fail at once, they are not counted for each of them."""
        if now - self.counted_at > COUNTED_SECONDS_MAX:
            self.zones, self.counted_at = zones(nodes()), now
        return self.zones

    def wait(self, name: str, zone: Zone, now: float) -> float | None:
        """Seconds until a node of the zone may lose its pods; 0 takes the turn, None: not as long as it is like this."""
        if not zone.per_second:
            return None
        left = self.last.get(name, float("-inf")) + 1 / zone.per_second - now
        if left <= 0:
            self.last[name] = now
        return max(left, 0.0)
