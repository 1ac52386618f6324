"""What a pod was given of the node, which may differ from what it asks for since: in-place resize, decided by values.

    asked for (spec)  ──fits──►  allocated  ──carried out──►  what the runtime enforces

A resize that can never fit is Infeasible; one that only does not fit beside today's other pods is Deferred, and tried
again when one of them goes or shrinks.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from kybern.api.codec import encode
from kybern.api.core_v1 import Container, Pod, ResourceRequirements
from kybern.api.quantity import milli
from kybern.kubelet.admission import lacks, of_all
from kybern.kubelet.resources import pod_requests
from kybern.kubelet.restarts import is_sidecar
from kybern.kubelet.status import Verdict

CAPACITY = "Node didn't have enough capacity: {}, requested: {}, capacity: {}"


class Allocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """As it is kept on disk."""

    containers: Mapping[str, ResourceRequirements] = {}
    pod: ResourceRequirements | None = None


def allocation_of(pod: Pod) -> Allocation:
    """All that the pod asks for."""
    every = (*pod.spec.containers, *filter(is_sidecar, pod.spec.init_containers or ()))
    return Allocation({c.name: c.resources or ResourceRequirements() for c in every}, pod.spec.resources)


class _Asking(msgspec.Struct, frozen=True):
    name: str
    resources: ResourceRequirements


class _Summary(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """As upstream writes it into events of a resize."""

    init_containers: tuple[_Asking, ...] = ()
    containers: tuple[_Asking, ...] = ()
    generation: int = -1
    error: str = ""


def summary(pod: Pod, error: str = "") -> str:
    """What the pod asks for, and why it does not have it, as JSON."""
    init, main = (
        tuple(_Asking(c.name, c.resources or ResourceRequirements()) for c in group or ())
        for group in (pod.spec.init_containers, pod.spec.containers)
    )
    return encode(_Summary(init, main, pod.metadata.generation or 0, error)).decode()


def allocated(pod: Pod, given: Allocation) -> Pod:
    """The pod as if it asked for no more and no less than it was given."""
    spec = replace(
        pod.spec,
        containers=tuple(_allocated(c, given) for c in pod.spec.containers),
        init_containers=tuple(_allocated(c, given) for c in pod.spec.init_containers or ()) or None,
        resources=given.pod,
    )
    return replace(pod, spec=spec)


def _allocated(container: Container, given: Allocation) -> Container:
    found = given.containers.get(container.name)
    return container if found is None or found == container.resources else replace(container, resources=found)


def refused(pod: Pod, given: Allocation, allocatable: Mapping[str, str], others: Iterable[Pod]) -> Verdict | None:
    """Why the pod is not given what it asks for; None where it is. Less is always given."""
    asked, before = pod_requests(pod), pod_requests(allocated(pod, given))
    grown = [name for name in ("cpu", "memory") if asked.get(name, 0) > before.get(name, 0)]
    for name in grown:
        unit = 1 if name == "cpu" else 1000
        if name in allocatable and asked[name] > milli(allocatable[name]):
            text = CAPACITY.format(name, asked[name] // unit, milli(allocatable[name]) // unit)
            return Verdict("Infeasible", text)
    short = lacks({name: asked[name] for name in grown}, allocatable, of_all(others))
    return Verdict("Deferred", short.message) if short is not None else None


def resize_order(pod: Pod, since: float) -> tuple[int, bool, float]:
    """Who goes first when there is room again: priority, then Guaranteed pods, then who has waited longest."""
    return (-(pod.spec.priority or 0), pod.status.qos_class != "Guaranteed", since)
