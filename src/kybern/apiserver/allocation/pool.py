"""Scarce values that are either free, held by stored objects, or set aside for a write that is under way.

What is held follows from what is stored, told by `Objects.on_change`; what is set aside is given back when its write is
settled. So nothing leaks when a write fails, and a restart needs no repair: the stored objects say it all.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
Owner = tuple[str, str]
"""Namespace and name of the object that holds a value."""


class Taken(Exception):
    """The value is held or set aside for another."""


class Exhausted(Exception):
    """No value is left."""


@dataclass(slots=True)
class Pool(Generic[T]):
    candidates: Callable[[], Iterable[T]]
    """Every value once, the most wanted first."""
    elsewhere: Callable[[T, Owner], bool] = lambda value, owner: False
    """Whether somebody else than this owner has the value, of whom no stored object of ours tells."""
    held: dict[T, set[Owner]] = field(default_factory=dict)
    set_aside: dict[T, int] = field(default_factory=dict)
    """Value → the reservation that it belongs to."""

    def changed(self, owner: Owner, before: Iterable[T], after: Iterable[T]) -> None:
        for value in before:
            owners = self.held.get(value, set())
            owners.discard(owner)
            if not owners:
                self.held.pop(value, None)
        for value in after:
            self.held.setdefault(value, set()).add(owner)

    def take(self, value: T, owner: Owner, reservation: int) -> None:
        """This very value. Taken where somebody else has it."""
        if self.held.get(value, set()) - {owner} or self.set_aside.get(value, reservation) != reservation:
            raise Taken
        if self.elsewhere(value, owner):
            raise Taken
        self.set_aside[value] = reservation

    def take_any(self, owner: Owner, reservation: int) -> T:
        for value in self.candidates():
            if value not in self.held and value not in self.set_aside and not self.elsewhere(value, owner):
                self.set_aside[value] = reservation
                return value
        raise Exhausted

    def set_aside_by(self, reservation: int) -> list[T]:
        return [value for value, of in self.set_aside.items() if of == reservation]

    def give_back(self, reservation: int) -> list[T]:
        given = self.set_aside_by(reservation)
        for value in given:
            del self.set_aside[value]
        return given
