"""Placed: a pod on its node, with what counts there: what it takes, its ports, what others may want to know of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from kybern.api.core_v1 import Pod
from kybern.reconcile.pausing import is_paused
from kybern.scheduler.claims import ClaimKey, claims_of
from kybern.scheduler.demand import Demand, demand_of
from kybern.scheduler.tallies import Kind, kind_of

HostPort = tuple[str, str, int]
"""Address, protocol, port."""


@dataclass(slots=True)
class Placed:
    node: str
    pod: Pod
    """As last heard of: the rest of it is forgotten everywhere, and when it began says how important it is."""
    demand: Demand
    ports: tuple[HostPort, ...]
    kind: Kind


def placed_of(pod: Pod, node: str) -> Placed:
    demand = demand_of(pod)
    return Placed(
        node, pod, without_processors(demand) if is_paused(pod) else demand, tuple(host_ports(pod)), kind_of(pod)
    )


def without_processors(demand: Demand) -> Demand:
    """What a frozen pod keeps."""
    kept = {name: number for name, number in demand.amounts.items() if name != "cpu"}
    return Demand(kept, (0, demand.assumed[1]))


def counts_alike(one: Pod, other: Pod) -> bool:
    return (
        one.metadata.labels == other.metadata.labels
        and is_paused(one) == is_paused(other)
        and one.metadata.deletion_timestamp == other.metadata.deletion_timestamp
        and (
            one.spec is other.spec
            or (one.spec.containers, one.spec.resources) == (other.spec.containers, other.spec.resources)
        )
    )


def claim_keys(pod: Pod) -> Iterator[ClaimKey]:
    if pod.spec.volumes:
        namespace = pod.metadata.namespace or ""
        yield from ((namespace, name) for name, _ in claims_of(pod))


def host_ports(pod: Pod) -> Iterator[HostPort]:
    sidecars = [container for container in pod.spec.init_containers or () if container.restart_policy == "Always"]
    for container in (*pod.spec.containers, *sidecars):
        for port in container.ports or ():
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield (port.host_ip or "0.0.0.0", port.protocol or "TCP", number)
