"""How many seats each priority level has: its share of the server's, and what levels lend each other.

A level is never below what it keeps for itself, nor above what it may borrow. Between those, all get the same fraction
of what they lately used, so that what one leaves unused others have (upstream's algorithm, KEP-1040).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from kybern.api.flowcontrol_v1 import PriorityLevelConfigurationSpec

HALVINGS = 40  # of the interval that the common fraction lies in: far finer than a seat


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seats: the level's share, the least and the most that it can come to have."""

    nominal: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a level used lately: at most, and smoothed."""

    high: int
    smooth: float


def shares_of(spec: PriorityLevelConfigurationSpec) -> int:
    part = spec.limited or spec.exempt
    return (part.nominal_concurrency_shares or 0) if part is not None else 0


def bounds(specs: Mapping[str, PriorityLevelConfigurationSpec], seats: int) -> dict[str, Bounds]:
    """For every level, of all the seats that the server has."""
    total = sum(map(shares_of, specs.values())) or 1
    return {name: bounds_of(spec, ceil(seats * shares_of(spec) / total), seats) for name, spec in specs.items()}


def bounds_of(spec: PriorityLevelConfigurationSpec, nominal: int, seats: int) -> Bounds:
    part = spec.limited or spec.exempt
    lendable = part_of(nominal, part.lendable_percent if part is not None else None)
    percent = spec.limited.borrowing_limit_percent if spec.limited is not None else None
    most = seats if percent is None else nominal + part_of(nominal, percent)
    return Bounds(nominal, nominal - lendable, max(most, nominal))


def part_of(seats: int, percent: int | None) -> int:
    """Rounded as upstream rounds: a half goes up."""
    return (seats * (percent or 0) + 50) // 100


def shared_out(levels: Sequence[tuple[Bounds, Wanted]], seats: int) -> list[int]:
    """The seats that each level has from now on."""
    kept = [max(bound.least, min(bound.nominal, wanted.high)) for bound, wanted in levels]
    if sum(kept) >= seats:
        return kept
    targets = [max(least, wanted.smooth) for least, (_, wanted) in zip(kept, levels, strict=True)]

    def given(fraction: float) -> list[float]:
        return [
            min(bound.most, max(least, fraction * target))
            for least, target, (bound, _) in zip(kept, targets, levels, strict=True)
        ]

    low, high = 0.0, seats / max(min((target for target in targets if target), default=1.0), 1e-9)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(given(middle)) < seats else (low, middle)
    return [round(share) for share in given(low)]
