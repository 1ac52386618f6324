"""componentstatuses: whether the parts of the control plane are well, found out when somebody asks.

The store is this server's own. Scheduler and controllers run wherever they like, and are well while one of them renews
the lease that it leads by: that holds for ours and for upstream's.
"""

from kybern.aio.clock import from_rfc3339
from kybern.api.codec import decode, encode
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import ComponentCondition, ComponentStatus
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.item import Item
from kybern.apiserver.machine import Machine
from kybern.registry.reviews import COMPONENT_STATUSES

LEASES = "coordination.k8s.io", "v1", "leases"
LED = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
"""Components, and the leases in kube-system that they lead by."""

STORE = "etcd-0"
NAMES = sorted((*LED, STORE))


class Components:
    """Fills the cache of componentstatuses, which lie in no store."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.cache = machine.storages["", "v1", COMPONENT_STATUSES.kind.plural].cache
        self.cache.keys[:] = [COMPONENT_STATUSES.key("", name) for name in NAMES]

    async def caught_up(self) -> None:
        for name in NAMES:
            await self.item("", name)

    async def item(self, namespace: str, name: str) -> Item | None:
        if name not in NAMES:
            return None
        key = COMPONENT_STATUSES.key("", name)
        found = self.cache.items[key] = Item(key, "", name, encode(component(name, self._wrong_with(name))), 0, 0)
        return found

    def _wrong_with(self, name: str) -> str:
        if name == STORE:
            return self.machine.store.refusal
        found = self.machine.storages[LEASES].cache.get("kube-system", LED[name])
        lease = decode(Lease, found.value) if found is not None else None
        return wrong_with_leader(LED[name], lease, self.machine.clock.wall())


def wrong_with_leader(name: str, lease: Lease | None, now: float) -> str:
    """Nothing while somebody leads."""
    if lease is None or not lease.spec.holder_identity:
        return f"nobody holds the lease kube-system/{name}"
    renewed = lease.spec.renew_time
    if not renewed or from_rfc3339(renewed) + (lease.spec.lease_duration_seconds or 0) < now:
        return f"{lease.spec.holder_identity} has not renewed the lease kube-system/{name} since {renewed}"
    return ""


def component(name: str, wrong: str) -> ComponentStatus:
    condition = ComponentCondition(
        type="Healthy", status="False" if wrong else "True", message=wrong or "ok", error=wrong or None
    )
    return ComponentStatus(metadata=ObjectMeta(name=name), conditions=(condition,))
