"""What a controller is: a value that says what it reconciles, what wakes it, and the one coroutine that acts.

`by(obj, view, client, context)` compares what is wanted with what exists and makes the difference smaller. It returns

    None            sleep until something changes
    After(seconds)  and look again then, whatever happens

and raises to be called again after a back-off. A spec that can never work is a condition in the status, not an exception.
"""

import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from kybern.aio.backoff import Backoff
from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import Selector
from kybern.client import Client, View
from kybern.reconcile.metrics import QueueMetrics
from kybern.reconcile.queue import RETRY

T = TypeVar("T")

REST_SECONDS = 0.02  # for loops over all pods of an owner: a thousand pods change a thousand times in a second or two
WORKERS = 5  # keys of one controller that are worked on at once: upstream's


class Key(NamedTuple):
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Any) -> "Key":
        return cls(obj.metadata.namespace or "", obj.metadata.name or "")


class After(Struct, frozen=True):
    seconds: float


class Events(Protocol):
    """`client.events.Recorder`."""

    def event(self, obj: Any, type: str, reason: str, message: str) -> None: ...


class Context(Struct, frozen=True):
    """Time, chance and a voice, for one pass."""

    now: float
    """Seconds since 1970, the same through the whole pass: for what objects say. Somebody may set that clock at any time."""
    ids: Ids
    events: Events
    monotonic: float = 0.0
    """Seconds for what a controller keeps in mind itself: how long somebody has been silent, when it looks again."""

    @property
    def rng(self) -> random.Random:
        return self.ids.rng


Reconcile = Callable[[T, View, Client, Context], Awaitable[After | None]]
ReconcileGone = Callable[[Key, View, Client, Context], Awaitable[After | None]]


def every_object(_: Any) -> bool:
    return True


def nothing_selected(_: Any) -> LabelSelector | Selector | None:
    return None


@dataclass(frozen=True, slots=True)
class Watch:
    """A change of an object of `type` wakes the keys that `keys(object, view)` names; both the old and the new object
    are asked."""

    type: type[Any]
    keys: Callable[[Any, View], Iterable[Key]]
    every_seconds: float = 0.0
    """How often what has changed is asked for, where it need not be known at once; 0: it is told as it happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller(Generic[T]):
    name: str
    """Its events come from `<name>-controller`."""
    reconciles: type[T]
    by: Reconcile[T]
    concerns: Callable[[T], bool] = every_object
    """An object for which this never holds need not be looked at: one of many pods, say."""
    owns: tuple[type[Any], ...] = ()
    """A change of such an object wakes the one that controls it."""
    selects: Callable[[T], LabelSelector | Selector | None] = nothing_selected
    """An owned kind's object that nobody controls wakes whoever selects it."""
    watches: tuple[Watch, ...] = ()
    reads: tuple[type[Any], ...] = ()
    """Followed, without waking anybody."""
    gone: ReconcileGone | None = None
    """For a key whose object does not exist any more."""
    resync_seconds: float = 0.0
    """Look at every object this often, for what no event tells; 0: never."""
    rest_seconds: float = 0.0
    """No key is worked on again sooner than this after its last pass: for owners of a great many objects."""
    retry: Backoff = RETRY
    """How long a key that fails waits."""
    workers: int = WORKERS
    component: str = ""
    """What its events come from, where upstream does not say `<name>-controller`."""

    @property
    def kinds(self) -> tuple[type[Any], ...]:
        """What has to be followed besides the `watches`."""
        return (self.reconciles, *self.owns, *self.reads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """A loop that no key wakes: it looks at everything, every so often."""

    name: str
    every_seconds: float
    by: Callable[[View, Client, Context], Awaitable[None]]
    reads: tuple[type[Any], ...] = ()
    idle: Callable[[View], bool] = lambda _: False
    """Nothing can have changed for it: it need not look before the View has changed."""

    @property
    def kinds(self) -> tuple[type[Any], ...]:
        return self.reads


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a loop of its own making is given."""

    client: Client
    view: View
    clock: Clock
    ids: Ids
    events: Events
    metrics: QueueMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A loop that is neither: the garbage collector, which follows kinds that are not known beforehand."""

    name: str
    by: Callable[[Surroundings], Awaitable[None]]
    kinds: tuple[type[Any], ...] = field(default=())


Loop = Controller[Any] | Periodic | Running
