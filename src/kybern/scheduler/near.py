"""What can be used from some nodes only, found by a label that all of these have: of thousands of things on thousands of
nodes each node looks at its own few."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Generic, TypeVar

from kybern.api.core_v1 import NodeSelectorTerm
from kybern.api.meta_v1 import LabelSelector

T = TypeVar("T")

Tie = tuple[str, Sequence[str]]
"""A label, and the values of which a node has to have one."""


@dataclass(slots=True)
class Near(Generic[T]):
    """Each thing with its number: among equals the first one is taken, wherever it is found."""

    count: int = 0
    anywhere: list[tuple[int, T]] = field(default_factory=list)
    """For all that is known here."""
    tied: dict[str, dict[str, list[tuple[int, T]]]] = field(default_factory=dict)
    """By the label and its value."""

    def add(self, thing: T, tie: Tie | None) -> None:
        self.count += 1
        if tie is None:
            self.anywhere.append((self.count, thing))
            return
        key, values = tie
        for value in dict.fromkeys(values):
            self.tied.setdefault(key, {}).setdefault(value, []).append((self.count, thing))

    def to(self, labels: Mapping[str, str]) -> list[T]:
        """What may be near a node with these labels: whoever asks looks whether it is."""
        found = [*self.anywhere]
        for key, by_value in self.tied.items():
            found += by_value.get(labels.get(key, ""), ())
        return [thing for _, thing in sorted(found, key=itemgetter(0))]


def tie_of_terms(terms: Sequence[NodeSelectorTerm]) -> Tie | None:
    asked = (terms[0].match_expressions or ()) if len(terms) == 1 else ()
    return next(((one.key, one.values or ()) for one in asked if one.operator == "In"), None)


def tie_of_selector(selector: LabelSelector) -> Tie | None:
    return next(((key, (value,)) for key, value in (selector.match_labels or {}).items()), None)
