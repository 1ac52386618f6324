"""Hints: on which NUMA nodes a container could get one kind of thing; and how hints of several kinds become one.

- A hint is a set of nodes, preferred where no smaller set could ever do. `nodes` is None where any do.
- No hints at all (None) is no preference; an empty list, that nothing fits anywhere.
- One hint of each kind is joined by what their sets have in common; of all such joins the best is taken, and the policy
  says whether it is good enough.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from kybern.kubelet.topology.machine import Machine

NONE, BEST_EFFORT, RESTRICTED, SINGLE = "none", "best-effort", "restricted", "single-numa-node"
POLICIES = (NONE, BEST_EFFORT, RESTRICTED, SINGLE)


@dataclass(frozen=True, slots=True)
class Hint:
    nodes: frozenset[int] | None = None
    preferred: bool = True


ANYWHERE = Hint()
NOWHERE = Hint(None, preferred=False)

Hints = Mapping[str, Sequence[Hint] | None]
"""By the name of the resource."""


def masks(numbers: Sequence[int]) -> Iterator[frozenset[int]]:
    """Every set of nodes, the small ones first."""
    for size in range(1, len(numbers) + 1):
        for chosen in combinations(numbers, size):
            yield frozenset(chosen)


def preferring(found: Sequence[frozenset[int]], least: int) -> list[Hint]:
    """`least`: so many nodes would be enough on an empty machine."""
    return [Hint(nodes, preferred=len(nodes) == least) for nodes in found]


def best(policy: str, machine: Machine, hints: Sequence[Hints], *, closest: bool = False) -> tuple[Hint, bool]:
    """The place, and whether the policy lets the pod in. `closest`: of sets of one size, the one with shorter ways."""
    if policy == NONE:
        return NOWHERE, True  # no place is promised
    kinds = list(_kinds(hints))
    if policy == SINGLE:
        kinds = [[h for h in kind if h.preferred and (h.nodes is None or len(h.nodes) == 1)] for kind in kinds]
    every = frozenset(machine.numbers)
    enough = max((min((len(h.nodes) for h in kind if h.nodes), default=0) for kind in kinds), default=0)
    joins = {ANYWHERE}
    for kind in kinds:
        joins = {join for one in joins for other in kind if (join := _joined(one, other)).nodes != frozenset()}

    def cost(join: Hint) -> tuple[bool, bool, int, float, list[int]]:
        """Preferred and small; else as near to `enough` as can be, from below where it can."""
        nodes = join.nodes if join.nodes is not None else every
        ways = machine.distance(nodes) if closest and policy != SINGLE else 0.0
        wasteful = not join.preferred and len(nodes) > enough
        wanted = len(nodes) if join.preferred or wasteful else -len(nodes)
        return not join.preferred, wasteful, wanted, ways, sorted(nodes)

    found = min(joins, key=cost, default=Hint(every, preferred=False))
    found = Hint(every if found.nodes is None else found.nodes, found.preferred)
    if policy == SINGLE and found.nodes == every:
        found = Hint(None, preferred=found.preferred)
    return found, found.preferred or policy == BEST_EFFORT


def _kinds(hints: Sequence[Hints]) -> Iterator[list[Hint]]:
    for said in hints:
        if not said:
            yield [ANYWHERE]
        for found in said.values():
            yield [ANYWHERE] if found is None else list(found) or [NOWHERE]


def _joined(one: Hint, other: Hint) -> Hint:
    """What both have in common; preferred where both are, and mean the same."""
    preferred = one.preferred and other.preferred
    if one.nodes is None or other.nodes is None:
        return Hint(other.nodes if one.nodes is None else one.nodes, preferred)
    return Hint(one.nodes & other.nodes, preferred and one.nodes == other.nodes)
