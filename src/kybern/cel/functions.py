"""What a library is made of: functions with overloads, each with its types, its Python function and its costs.

An overload's `call` may trust the kinds of its arguments; what containers hold it must look at itself. It raises
EvaluationError where the values do not fit. Cost models are in `costs`, shared by what is estimated and what is charged.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.cel.costs import ONE, Cost
from kybern.cel.types import Type, is_open


@dataclass(frozen=True, slots=True)
class Overload:
    function: str
    params: tuple[Type, ...]
    """The target first, for a member."""
    result: Type
    call: Callable[..., Any]
    member: bool = False
    cost: Cost = ONE
    works: bool = False
    """Its call takes a `Work` after the arguments, and counts in it what it looks at beyond them."""
    is_generic: bool = field(init=False)
    """Whether its types have parameters."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_generic", any(map(is_open, (*self.params, self.result))))


def compiled_by_itself(*args: Any) -> Any:
    """In the place of a call that is never made: the compiler has its own way for it."""
    raise AssertionError("compiled by itself")


Library = tuple[Overload, ...]
Functions = Mapping[tuple[str, bool], tuple[Overload, ...]]
"""By name, and whether it is called on a target."""


def function(
    name: str, params: Iterable[Type], result: Type, call: Callable[..., Any], cost: Cost = ONE, *, works: bool = False
) -> Overload:
    return Overload(name, tuple(params), result, call, False, cost, works)


def member(
    name: str, params: Iterable[Type], result: Type, call: Callable[..., Any], cost: Cost = ONE, *, works: bool = False
) -> Overload:
    return Overload(name, tuple(params), result, call, True, cost, works)


def table(libraries: Iterable[Library]) -> Functions:
    found: dict[tuple[str, bool], list[Overload]] = {}
    for library in libraries:
        for overload in library:
            found.setdefault((overload.function, overload.member), []).append(overload)
    return {key: tuple(overloads) for key, overloads in found.items()}
