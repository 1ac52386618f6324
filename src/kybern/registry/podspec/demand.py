"""What the containers of a pod ask for together.

Containers and sidecars run at the same time, so theirs adds up; an init container runs alone, beside the sidecars that
started before it, so only the largest moment counts.
"""

from collections.abc import Mapping
from typing import Literal

from kybern.api import quantity
from kybern.api.core_v1 import Container, PodSpec
from kybern.api.shape import Quantity

Amounts = Mapping[str, Quantity]


def total_requests(spec: PodSpec) -> Amounts:
    return total(spec, "requests")


def total_limits(spec: PodSpec) -> Amounts:
    return total(spec, "limits")


def total(spec: PodSpec, of: Literal["requests", "limits"]) -> Amounts:
    whole: dict[str, Quantity] = {}
    sidecars: dict[str, Quantity] = {}
    peak: dict[str, Quantity] = {}
    for container in spec.containers:
        add(whole, asked(container, of))
    for container in spec.init_containers or ():
        moment = dict(sidecars)
        add(moment, asked(container, of))
        if container.restart_policy == "Always":
            sidecars = moment
        for name, amount in moment.items():
            if quantity.compare(amount, peak.get(name, "0")) > 0:
                peak[name] = amount
    add(whole, sidecars)
    for name, amount in peak.items():
        if quantity.compare(amount, whole.get(name, "0")) > 0:
            whole[name] = amount
    return whole


def asked(container: Container, of: Literal["requests", "limits"]) -> Amounts:
    return getattr(container.resources, of, None) or {}


def add(sum_of: dict[str, Quantity], more: Amounts) -> None:
    for name, amount in more.items():
        sum_of[name] = quantity.add(sum_of[name], amount) if name in sum_of else amount
