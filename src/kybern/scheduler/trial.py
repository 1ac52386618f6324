"""Would the pod fit on a node if other pods were gone, or there? Tried without anybody noticing.

- `Arithmetic` serves pods that care about resources only: what they lack, less what others would free.
- `InPlace` takes the pods out of the snapshot, asks the rules, and puts everything back in the end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.demand import Amounts, demand_of
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.plugins.node_ports import NodePorts
from kybern.scheduler.plugins.node_resources import NodeResourcesFit, insufficient
from kybern.scheduler.snapshot import Placed


class Trial(Protocol):
    def leave(self, placed: Placed) -> None: ...

    def stay(self, placed: Placed) -> None:
        """After it left."""

    def refusals(self) -> list[str]:
        """Why the pod does not fit; nothing where it does."""


class Arithmetic:
    def __init__(self, judgement: Judgement, row: int, others: Sequence[Pod]) -> None:
        snapshot = judgement.snapshot
        free = snapshot.allocatable[row] - snapshot.requested[row]
        self.short = {
            name: amount - int(free[snapshot.resources.index(name)])
            for name, amount in judgement.kept.demand.amounts.items()
        }
        for other in others:
            self._shift(demand_of(other).amounts, 1)

    def leave(self, placed: Placed) -> None:
        self._shift(placed.demand.amounts, -1)

    def stay(self, placed: Placed) -> None:
        self._shift(placed.demand.amounts, 1)

    def refusals(self) -> list[str]:
        return [insufficient(name) for name, amount in self.short.items() if amount > 0]

    def _shift(self, amounts: Amounts, sign: int) -> None:
        for name in self.short:
            self.short[name] += sign * amounts.get(name, 0)


class InPlace:
    def __init__(self, judgement: Judgement, row: int, others: Sequence[Pod]) -> None:
        self.judgement, self.snapshot, self.row = judgement, judgement.snapshot, row
        self.gone: dict[str, Placed] = {}
        node = self.snapshot.nodes[row].metadata.name or ""
        self.beside = [other for other in others if self.snapshot.add_pod(other, node)]

    def leave(self, placed: Placed) -> None:
        uid = placed.pod.metadata.uid or ""
        self.gone[uid] = placed
        self.snapshot.remove_pod(uid)

    def stay(self, placed: Placed) -> None:
        self.snapshot.put_back(self.gone.pop(placed.pod.metadata.uid or ""))

    def refusals(self) -> list[str]:
        everywhere = Nodes(self.snapshot)
        here = Nodes(self.snapshot, np.array([self.row]))
        known = [] if self.snapshot.layout != self.judgement.kept.layout else self.judgement.kept.filters
        for plugin in self.judgement.profile.filters:
            state = next((s for p, s in known if p is plugin), None) or plugin.pre_filter(
                self.judgement.pod, everywhere
            )
            if state is not None and not plugin.filter(state, here)[0]:
                return list(plugin.reasons(state, here))
        return []

    def end(self) -> None:
        for placed in self.gone.values():
            self.snapshot.put_back(placed)
        for other in self.beside:
            self.snapshot.remove_pod(other.metadata.uid or "")


@contextmanager
def begun(judgement: Judgement, row: int, others: Sequence[Pod]) -> Iterator[Trial]:
    """On the node of a row, with `others` there too."""
    if is_arithmetic(judgement, others):
        yield Arithmetic(judgement, row, others)
        return
    trial = InPlace(judgement, row, others)
    try:
        yield trial
    finally:
        trial.end()


def is_arithmetic(judgement: Judgement, others: Sequence[Pod]) -> bool:
    """Whether other pods matter for nothing but resources; all other rules have said yes."""
    return (
        all(plugin.kept and not isinstance(plugin, NodePorts) for plugin, _ in judgement.filters)
        and any(isinstance(plugin, NodeResourcesFit) for plugin, _ in judgement.filters)
        and not any(other.spec.affinity for other in others)
    )
