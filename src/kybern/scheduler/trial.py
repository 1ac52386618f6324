"""Would the pod fit on a node if other pods were gone, or there? Tried without anybody noticing.

- `InThought` where each rule that looks at other pods can account for one more or one less of them.
- `InPlace` takes the pods out of the snapshot, asks all rules, and puts everything back in the end.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Trial
from kybern.scheduler.judgement import Judgement
from kybern.scheduler.nodes import Nodes
from kybern.scheduler.placed import Placed, placed_of


class InThought:
    """Each rule keeps its own account. In the end nothing has to be put back."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials

    def leave(self, placed: Placed) -> None:
        for trial in self.trials:
            trial.leave(placed)

    def stay(self, placed: Placed) -> None:
        for trial in self.trials:
            trial.stay(placed)

    def refusals(self) -> list[str]:
        return next((found for trial in self.trials if (found := trial.refusals())), [])


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
    trials = in_thought(judgement, row, others)
    if trials is not None:
        together = InThought(trials)
        for other in others:
            together.stay(placed_of(other, judgement.snapshot.nodes[row].metadata.name or ""))
        yield together
        return
    trial = InPlace(judgement, row, others)
    try:
        yield trial
    finally:
        trial.end()


def in_thought(judgement: Judgement, row: int, others: Sequence[Pod]) -> list[Trial] | None:
    """None where a rule that looks at other pods has no trial, or had nothing to say about this pod and now might."""
    if any(other.spec.affinity for other in others):
        asked = {plugin.name for plugin, _ in judgement.filters}
        if any(not plugin.silence_holds and plugin.name not in asked for plugin in judgement.profile.filters):
            return None
    trials = []
    for plugin, state in judgement.filters:
        if plugin.pods_matter:
            trial = plugin.trial(state, judgement.pod, judgement.snapshot, row)
            if trial is None:
                return None
            trials.append(trial)
    return trials
