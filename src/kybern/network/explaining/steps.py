"""A step of the way, and whom it is asked of: what the API holds is `Known`, and judged as values; what only the machine knows
(rules, routes, sockets) is asked of `Machine`. Where that cannot be asked (not root, not this machine) the step says so and
is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kybern.api.core_v1 import Node, Pod, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.network.policy.model import World


@dataclass(frozen=True, slots=True)
class Step:
    about: str
    ok: bool | None
    """None where it could not be looked at."""
    said: str
    fix: str = ""


class Machine(Protocol):
    """Each tells what is wrong, "" where nothing is; None where it cannot be asked."""

    def rules(self, address: str, protocol: str, port: int) -> str | None: ...

    def route(self, pod: Pod) -> str | None:
        """To the node of a pod."""

    def firewall(self) -> str | None:
        """Of others on the machine."""

    def listening(self, pod: Pod, protocol: str, port: int) -> str | None: ...

    def has_dropped(self, at: str, source: str, target: str, protocol: str, port: int) -> bool:
        """Whether node `at` remembers such packets; it forgets after ten minutes."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the API says."""

    services: Sequence[Service]
    slices: Sequence[EndpointSlice]
    pods: Sequence[Pod]
    nodes: Sequence[Node]
    world: World


def asked(about: str, wrong: str | None, well: str, fix: str) -> Step:
    if wrong is None:
        return Step(about, None, "not looked at: that takes root on the node's machine")
    return Step(about, False, wrong, fix) if wrong else Step(about, True, well)
