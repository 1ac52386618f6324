"""Devices: what drivers offer by their ResourceSlices.

`offered` is what a node has: of each pool only the newest generation, and only once all its slices are there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kybern.api import node_selectors
from kybern.api.core_v1 import Node
from kybern.api.quantity import value
from kybern.api.resource_v1 import (
    Device,
    DeviceRequestAllocationResult,
    DeviceTaint,
    DeviceTaintRule,
    ResourceSlice,
)
from kybern.reconcile.device_taints import selects

Id = tuple[str, str, str]
"""Driver, pool, device."""


@dataclass(frozen=True, slots=True)
class Offered:
    id: Id
    device: Device
    slice: ResourceSlice
    counters: Mapping[str, Mapping[str, int]]
    """The pool's, by set and name."""
    taints: tuple[DeviceTaint, ...] = ()
    """Those that the driver tells, and those of rules."""


def offered(node: Node, slices: Iterable[ResourceSlice], rules: Sequence[DeviceTaintRule] = ()) -> list[Offered]:
    pools: dict[tuple[str, str], list[ResourceSlice]] = defaultdict(list)
    for one in slices:
        pools[one.spec.driver, one.spec.pool.name].append(one)
    found: list[Offered] = []
    for (driver, pool), parts in pools.items():
        newest = max(part.spec.pool.generation for part in parts)
        current = [part for part in parts if part.spec.pool.generation == newest]
        if len(current) < current[0].spec.pool.resource_slice_count:
            continue
        counters = {
            one.name: {name: value(counter.value) for name, counter in one.counters.items()}
            for part in current
            for one in part.spec.shared_counters or ()
        }
        found += [
            Offered(
                (driver, pool, device.name),
                device,
                part,
                counters,
                taints_of(device, (driver, pool, device.name), rules),
            )
            for part in current
            for device in part.spec.devices or ()
            if is_for(node, device if part.spec.per_device_node_selection else part.spec)
        ]
    return sorted(found, key=lambda one: one.id)


def is_for(node: Node, where: Any) -> bool:
    """`where`: a slice's spec, or a device."""
    if where.node_name:
        return bool(where.node_name == node.metadata.name)
    if where.node_selector is not None:
        return node_selectors.selects(where.node_selector, node)
    return bool(where.all_nodes)


def taints_of(device: Device, id: Id, rules: Iterable[DeviceTaintRule]) -> tuple[DeviceTaint, ...]:
    ruled = (rule.spec.taint for rule in rules if selects(rule.spec.device_selector, *id))
    return (*(device.taints or ()), *ruled)


def can_be_shared(one: Offered) -> bool:
    return bool(one.device.allow_multiple_allocations)


def split(name: str, driver: str) -> tuple[str, str]:
    """A name without a domain is the driver's own."""
    domain, slash, plain = name.rpartition("/")
    return (domain, plain) if slash else (driver, name)


def attribute_of(one: Offered, name: str) -> Any:
    from kybern.scheduler.device_selectors import plain_value

    domain, plain = split(name, one.id[0])
    for key, attribute in (one.device.attributes or {}).items():
        if split(key, one.id[0]) == (domain, plain):
            return plain_value(attribute)
    return None


def id_of(result: DeviceRequestAllocationResult) -> Id:
    return result.driver, result.pool, result.device
