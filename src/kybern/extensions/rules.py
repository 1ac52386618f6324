"""What an extension can be: a rule about what is written, a controller, a rule of the scheduler.

Each is a function and what it is about. A function takes what it has use for: `rule(pod)`, or `rule(pod, request)`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any

from kybern.extensions.bounded import bounded

OPERATIONS = ("CREATE", "UPDATE", "DELETE")
SCORE_MAX = 100

Function = Callable[..., Any]
Kind = type[Any] | str
"""A built-in kind's type, or a custom one as `widgets.example.com`: its objects are dicts with typed metadata."""


class Refused(Exception):
    """The request is refused; the words reach the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks for what, besides the object."""

    user: str
    groups: tuple[str, ...]
    operation: str
    namespace: str
    name: str
    dry_run: bool
    old: Any
    """The object as it is; None where it is new."""


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    function: Function
    kind: Kind
    operations: tuple[str, ...]
    mutates: bool

    def ask(self, obj: Any, request: Request) -> Any:
        return bounded(self.function, *(obj, request)[: parameter_count(self.function)])


@dataclass(frozen=True, slots=True)
class ControllerRule:
    function: Callable[..., Awaitable[Any]]
    kind: type[Any]
    owns: tuple[type[Any], ...] = field(default=())
    reads: tuple[type[Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class SchedulerRule:
    function: Function
    weight: int = 0
    """0: it filters."""


Rule = AdmissionRule | ControllerRule | SchedulerRule


def parameter_count(function: Function) -> int:
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in places for each in signature(function).parameters.values())


def validates(kind: Kind, *, on: tuple[str, ...] = ("CREATE", "UPDATE")) -> Callable[[Function], AdmissionRule]:
    """`rule(object)` raises `Refused` to refuse it. On DELETE it sees what is to go. It is about the object as its author
    writes it: that a kubelet reports a status, or a scheduler binds a pod, is not asked about."""
    return lambda function: AdmissionRule(function, kind, checked(on), mutates=False)


def mutates(kind: Kind, *, on: tuple[str, ...] = ("CREATE",)) -> Callable[[Function], AdmissionRule]:
    """`rule(object)` returns what it shall be: objects are never changed in place."""
    return lambda function: AdmissionRule(function, kind, checked(on), mutates=True)


def controller(
    kind: type[Any], *, owns: tuple[type[Any], ...] = (), reads: tuple[type[Any], ...] = ()
) -> Callable[[Callable[..., Awaitable[Any]]], ControllerRule]:
    """`async rule(object, view, client)` makes what exists more like what the object wants; see `kybern.reconcile`.

    It is called when the object changes, or one of the kinds that it `owns`; what it only `reads` is in the view too."""
    return lambda function: ControllerRule(function, kind, owns, reads)


def filters(function: Function) -> SchedulerRule:
    """`rule(pod, node)` returns why the pod may not run there; nothing where it may."""
    return SchedulerRule(function)


def scores(*, weight: int = 1) -> Callable[[Function], SchedulerRule]:
    """`rule(pod, node)` returns how well the pod runs there, 0 to 100."""
    if weight < 1:
        raise ValueError(f"a weight is 1 or more, not {weight}")
    return lambda function: SchedulerRule(function, weight)


def checked(on: tuple[str, ...]) -> tuple[str, ...]:
    for operation in on:
        if operation not in OPERATIONS:
            raise ValueError(f"{operation!r} is no operation; there are {', '.join(OPERATIONS)}")
    return on
