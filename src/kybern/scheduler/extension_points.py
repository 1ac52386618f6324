"""The extension points around filters and scores: what happens to a pod before it is tried, and once a node is chosen.

    PreEnqueue → QueueSort → (PreFilter, Filter → PostFilter | PreScore, Score) → Reserve → Permit → PreBind → Bind → PostBind

A plugin is a value of as many of these classes as it needs. All but Bind decide from memory and never wait; what they want
written is a value too, and is written in a task of its own, beside the next decisions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from kybern.api.core_v1 import Pod
from kybern.client import Client
from kybern.scheduler.framework import Change, FilterPlugin, ScorePlugin

if TYPE_CHECKING:
    from kybern.scheduler.preemption import Attempt, Refused
    from kybern.scheduler.snapshot import Snapshot


class PreEnqueuePlugin:
    name: ClassVar[str]
    wakes_on: ClassVar[Change]
    """After these changes a pod that was kept out is asked about again; its own change always does."""

    @abstractmethod
    def pre_enqueue(self, pod: Pod, snapshot: Snapshot) -> str:
        """Why it must not be tried yet; empty where it may."""


class QueueSortPlugin:
    name: ClassVar[str]

    @abstractmethod
    def sort_key(self, pod: Pod, added: float) -> tuple[Any, ...]:
        """The smallest is tried first. All profiles share one queue, so they share this plugin."""


class PostFilterPlugin:
    name: ClassVar[str]

    @abstractmethod
    def post_filter(self, refused: Refused) -> Attempt:
        """What could make room for a pod that fits nowhere."""


class ReservePlugin:
    name: ClassVar[str]

    @abstractmethod
    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        """Take what the pod needs there. Why that cannot be had; empty where it was taken."""

    @abstractmethod
    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None:
        """Give it back: it was not bound after all. Also called where `reserve` failed; does no harm twice."""


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float
    """Then it is turned away."""


@dataclass(frozen=True, slots=True)
class TurnAway:
    why: str


Verdict = Wait | TurnAway | None


class WaitingPods:
    """What a PermitPlugin is given: pods that wait for its word."""

    @abstractmethod
    def allow(self, uid: str) -> None: ...

    @abstractmethod
    def turn_away(self, uid: str, why: str) -> None: ...

    @abstractmethod
    def pods(self) -> Sequence[Pod]: ...


class PermitPlugin:
    name: ClassVar[str]

    @abstractmethod
    def permit(self, pod: Pod, node: str, waiting: WaitingPods) -> Verdict:
        """None: go on."""


@dataclass(frozen=True, slots=True)
class Patched:
    """A merge patch of an object."""

    of: type[Any]
    name: str
    namespace: str
    patch: Mapping[str, Any]
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Then:
    """An object to be replaced, or created where it has no name yet, and what is written next about what it became."""

    obj: Any
    writes: Callable[[Any], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Deleted:
    of: type[Any]
    name: str
    namespace: str
    uid: str


class PreBindPlugin:
    """What has to be written before the pod is bound, and what has to come of it. Whatever fails makes the pod wait."""

    name: ClassVar[str]
    settles_seconds: float = 0.0
    """No longer is waited for what has to come of it."""

    def takes_time(self, pod: Pod, snapshot: Snapshot) -> bool:
        """Whether it may have to wait for others. Then other bindings do not wait for it."""
        return False

    @abstractmethod
    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        """`Patched`, `Then`, `Deleted`, objects to be replaced with, or pairs of a subresource and such an object."""

    def settled(self, pod: Pod, node: str, snapshot: Snapshot) -> bool:
        """Whether the pod can be bound now. An ApiError where it never can."""
        return True


class BindPlugin:
    name: ClassVar[str]

    @abstractmethod
    async def bind(self, pod: Pod, node: str, client: Client) -> bool:
        """False: it is somebody else's to bind."""


class PostBindPlugin:
    name: ClassVar[str]

    @abstractmethod
    def post_bind(self, pod: Pod, node: str) -> None: ...


Plugin = (
    PreEnqueuePlugin
    | QueueSortPlugin
    | FilterPlugin[Any]
    | PostFilterPlugin
    | ScorePlugin[Any]
    | ReservePlugin
    | PermitPlugin
    | PreBindPlugin
    | BindPlugin
    | PostBindPlugin
)


@dataclass(frozen=True, slots=True)
class Weighted:
    plugin: ScorePlugin[Any]
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The plugins of one scheduler name, point by point, each in the order in which it is asked."""

    scheduler_name: str = "default-scheduler"
    pre_enqueue: tuple[PreEnqueuePlugin, ...] = ()
    queue_sort: QueueSortPlugin | None = None
    """None: by priority, then by age."""
    filters: tuple[FilterPlugin[Any], ...] = ()
    post_filters: tuple[PostFilterPlugin, ...] = ()
    scorers: tuple[Weighted, ...] = ()
    reserve: tuple[ReservePlugin, ...] = ()
    permit: tuple[PermitPlugin, ...] = ()
    pre_bind: tuple[PreBindPlugin, ...] = ()
    bind: tuple[BindPlugin, ...] = ()
    post_bind: tuple[PostBindPlugin, ...] = ()
