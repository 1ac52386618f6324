"""What a pod takes of a node: the sum that upstream computes, as whole numbers (CPU in thousandths).

All containers run together, so their requests add up; init containers run one after the other before them, beside the
sidecars started so far, so only the largest moment counts.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.quantity import milli, value

AMOUNT_MAX = 1 << 52  # sums of a thousand such amounts still fit into 64 bits
DEFAULT_MILLI_CPU = 100  # what a container that asks for nothing counts as, when nodes are compared
DEFAULT_MEMORY = 200 * 1024 * 1024

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Demand:
    amounts: Amounts
    """By resource; one of `pods`."""
    assumed: tuple[int, int]
    """CPU and memory, where every container counts for something."""

    @property
    def key(self) -> Hashable:
        return frozenset(self.amounts.items()), self.assumed


def amount(resource: str, quantity: str) -> int:
    return min(milli(quantity) if resource == "cpu" else value(quantity), AMOUNT_MAX)


def amounts_of(quantities: Mapping[str, str] | None) -> dict[str, int]:
    return {name: amount(name, quantity) for name, quantity in (quantities or {}).items()}


def demand_of(pod: Pod) -> Demand:
    total = total_of(pod, defaults=False)
    counted = total_of(pod, defaults=True)
    return Demand(
        {**{name: number for name, number in total.items() if number}, "pods": 1},
        (counted.get("cpu", 0), counted.get("memory", 0)),
    )


def total_of(pod: Pod, *, defaults: bool) -> dict[str, int]:
    spec = pod.spec
    total: dict[str, int] = {}
    for container in spec.containers:
        add(total, requests(container, defaults))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers or ():
        asked = requests(container, defaults)
        if container.restart_policy == "Always":
            add(sidecars, asked)
            asked = sidecars
        else:
            asked = {name: asked.get(name, 0) + sidecars.get(name, 0) for name in {*asked, *sidecars}}
        for name, number in asked.items():
            peak[name] = max(peak.get(name, 0), number)
    add(total, sidecars)
    for name, number in peak.items():
        total[name] = max(total.get(name, 0), number)
    whole = (spec.resources or ResourceRequirements()).requests
    total |= amounts_of(whole)  # a request of the whole pod stands in for the sum
    add(total, amounts_of(spec.overhead))
    return total


def requests(container: Container, defaults: bool) -> dict[str, int]:
    asked = amounts_of((container.resources or ResourceRequirements()).requests)
    if defaults:
        asked.setdefault("cpu", DEFAULT_MILLI_CPU)
        asked.setdefault("memory", DEFAULT_MEMORY)
    return asked


def add(total: dict[str, int], more: Amounts) -> None:
    for name, number in more.items():
        total[name] = min(total.get(name, 0) + number, AMOUNT_MAX)
