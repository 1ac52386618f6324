"""What a scheduling rule is: a filter says where a pod may run, a score where it runs best, for all nodes at once.

- `pre_filter` and `pre_score` look at the pod once; what they return is handed to `filter` and `score` (None: this rule
  has nothing to say about this pod). The type checker ties the two together.
- A filter returns a boolean column, a score an integer column; `reasons` is asked only when no node fits.
- "No" is a value; exceptions are for faults.
- `PerNodePlugin` is for rules that are easier to say about one node at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np

from kybern.api.core_v1 import Node, Pod

if TYPE_CHECKING:
    from kybern.scheduler.nodes import Nodes
    from kybern.scheduler.placed import Placed
    from kybern.scheduler.snapshot import Snapshot

S = TypeVar("S")
T = TypeVar("T", bound=np.generic)

Column = np.ndarray[Any, np.dtype[T]]
SCORE_MAX = 100


class Change(Flag):
    """What may make room for a pod that did not fit."""

    NODE_ADDED = auto()
    NODE_REMOVED = auto()
    """With it a domain may be gone in which there were few pods."""
    NODE_ALLOCATABLE = auto()
    NODE_LABELS = auto()
    NODE_TAINTS = auto()
    NODE_FEATURES = auto()
    POD_LEFT = auto()
    POD_ADDED = auto()
    """Or its labels changed: others may want it near them."""

    VOLUME = auto()
    """A claim, a volume, a class, or what a node can attach."""
    DEVICE = auto()
    """A claim for devices, what a node offers, or a taint of it."""
    DEVICE_CLASS = auto()
    """What asks for a resource by name may be given devices of a class."""


ANY = ~Change(0)
NODE_CHANGED = Change.NODE_ADDED | Change.NODE_LABELS


class Trial(Protocol):
    """One rule and one pod on one node, while other pods come and go there in thought: upstream's PreFilterExtensions."""

    def leave(self, placed: Placed) -> None: ...

    def stay(self, placed: Placed) -> None:
        """It comes, or comes back."""

    def refusals(self) -> list[str]:
        """Why the pod does not fit; nothing where it does."""


class FilterPlugin(Generic[S]):
    name: ClassVar[str]
    wakes_on: ClassVar[Change]
    """After these changes a pod that this rule refused is tried again."""
    reason: ClassVar[str] = ""
    kept: ClassVar[bool] = True
    """Whether the judgement of a node holds until that node changes: not where pods on other nodes matter."""

    def hint(self, pod: Pod, change: Change, about: Pod, snapshot: Snapshot) -> bool:
        """Whether a pod that came, left or changed (`about`) may make this rule say yes to one that it refused."""
        return True

    @abstractmethod
    def pre_filter(self, pod: Pod, nodes: Nodes) -> S | None: ...

    @abstractmethod
    def filter(self, state: S, nodes: Nodes) -> Column[np.bool_]:
        """True where the pod may run."""

    def problem(self, state: S) -> str:
        """Why no node will do, whatever it is like. Empty where that depends on the node."""
        return ""

    def reasons(self, state: S, refused: Nodes) -> Mapping[str, int]:
        """Why, and for how many of the nodes that this rule refused."""
        return {self.reason: len(refused)}

    def preemption_helps(self, state: S, refused: Nodes) -> Column[np.bool_]:
        """Where fewer pods could make it fit."""
        return np.zeros(len(refused), np.bool_)

    pods_matter: ClassVar[bool] = False
    """Whether other pods on the node make a difference. Then there is a trial, or all rules are asked anew each time."""
    silence_holds: ClassVar[bool] = True
    """A rule that has nothing to say about a pod has nothing to say with more pods there, whatever they ask for."""

    def trial(self, state: S, pod: Pod, snapshot: Snapshot, row: int) -> Trial | None:
        return None

    def stamp(self, state: S, snapshot: Snapshot, row: int) -> Hashable:
        """What a trial depends on besides the node, its pods and the pod itself: equal stamps, equal answers. Unless a
        rule knows better, nothing that would not change."""
        return object() if self.pods_matter else None


class ScorePlugin(Generic[S]):
    name: ClassVar[str]
    kept: ClassVar[bool] = True
    """Not where pods on other nodes matter; then `pre_score` and `score` see only the nodes where the pod fits."""

    @abstractmethod
    def pre_score(self, pod: Pod, nodes: Nodes) -> S | None: ...

    @abstractmethod
    def score(self, state: S, nodes: Nodes) -> Column[np.int64]: ...

    def normalize(self, scores: Column[np.int64]) -> Column[np.int64]:
        """The scores of all nodes that fit, as 0 to SCORE_MAX."""
        return scores


class PerNodePlugin(FilterPlugin[S]):
    """A filter that is written for one node: `refuses` gives the reasons, or none."""

    kept = False  # it may look at anything in the pod and the node, so no judgement is used twice

    @abstractmethod
    def refuses(self, state: S, node: Node) -> list[str]: ...

    def filter(self, state: S, nodes: Nodes) -> Column[np.bool_]:
        return np.fromiter((not self.refuses(state, node) for node in nodes.objects()), np.bool_, len(nodes))

    def reasons(self, state: S, refused: Nodes) -> Mapping[str, int]:
        return Counter(reason for node in refused.objects() for reason in self.refuses(state, node))


def in_proportion(scores: Column[np.int64], *, reverse: bool = False) -> Column[np.int64]:
    """Scaled so that the largest is SCORE_MAX; all alike where it is nothing."""
    largest = int(scores.max(initial=0))
    if largest == 0:
        return np.full(len(scores), SCORE_MAX if reverse else 0, np.int64)
    scaled = scores * SCORE_MAX // largest
    return SCORE_MAX - scaled if reverse else scaled
