"""ResourceQuota: a namespace uses no more than it is allowed, counted exactly.

What is used follows from the stored objects and from what is set aside for writes under way, so two writes at once
cannot both take the last of it. Only what a write adds is asked for: who uses too much may still shrink.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.core_v1 import PersistentVolumeClaim, Pod, ResourceQuota, Service
from kybern.api.kind import Kind
from kybern.api.quantity import add, compare, subtract
from kybern.api.resource_v1 import ResourceClaim
from kybern.api.shape import Quantity
from kybern.apiserver.admission.followed import Followed
from kybern.apiserver.admission.plugin import Inputs, Plugin, refused
from kybern.apiserver.request import Admission
from kybern.registry.device_usage import Known
from kybern.registry.quota_usage import matches, missing_for, usage_of

Usage = dict[str, Quantity]
ZERO = Quantity("0")
COSTING = (Pod, Service, PersistentVolumeClaim, ResourceClaim)
"""Kinds whose objects cost what their specs say."""


class ResourceQuotaAdmission(Plugin):
    name = "ResourceQuota"

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        self.quotas = Followed(inputs.objects, ResourceQuota)
        self.set_aside: dict[int, tuple[str, Any, Kind]] = {}
        """Admission → the namespace, object and kind that is about to be stored."""

    async def validate(self, admission: Admission) -> None:
        if admission.operation not in ("CREATE", "UPDATE") or admission.subresource or not admission.namespace:
            return
        quotas = self.quotas.of(admission.namespace)
        if not quotas:
            return
        kind, known = admission.resource.kind, Known(self.objects)
        for quota in quotas:
            self.check(admission, quota, kind, known)
        self.set_aside[id(admission)] = (admission.namespace, admission.object, kind)

    def check(self, admission: Admission, quota: ResourceQuota, kind: Kind, known: Known) -> None:
        hard = quota.spec.hard or {}
        if not matches(quota, admission.object):
            return
        name = quota.metadata.name
        missing = missing_for(hard, admission.object) if admission.operation == "CREATE" else ""
        if missing:
            raise refused(admission, f"failed quota: {name}: must specify {missing}")
        before = usage_of(admission.old, kind, known=known) if admission.old is not None else {}
        asked = added(usage_of(admission.object, kind, known=known), before, hard)
        if not asked:
            return
        used = self.used(admission.namespace, quota, known)
        over = [key for key in sorted(asked) if compare(add(used.get(key, ZERO), asked[key]), hard[key]) > 0]
        if over:
            raise refused(
                admission,
                f"exceeded quota: {name}, requested: {listed(over, asked)}, used: {listed(over, used)}, "
                f"limited: {listed(over, hard)}",
            )

    def used(self, namespace: str, quota: ResourceQuota, known: Known) -> Usage:
        total: Usage = {}
        for obj, kind in (*self.stored(namespace, quota), *self.under_way(namespace)):
            if matches(quota, obj):
                for key, amount in usage_of(obj, kind, self.inputs.clock.wall(), known).items():
                    total[key] = add(total.get(key, ZERO), amount)
        return total

    def stored(self, namespace: str, quota: ResourceQuota) -> Iterator[tuple[Any, Kind]]:
        """The objects of the kinds that this quota counts."""
        hard = quota.spec.hard or {}
        places: set[str] = set()  # an object that is served in several versions counts once
        for resource in self.objects.resources():
            kind = resource.kind
            counted = kind.type in COSTING or counts(hard, kind)
            if kind.namespaced and counted and resource.prefix not in places:
                places.add(resource.prefix)
                for obj in self.objects.list(kind.type, namespace):
                    yield obj, kind

    def under_way(self, namespace: str) -> Iterator[tuple[Any, Kind]]:
        for at, obj, kind in self.set_aside.values():
            if at == namespace and self.objects.get(kind.type, obj.metadata.name or "", namespace) is None:
                yield obj, kind

    def committed(self, admission: Admission) -> None:
        self.set_aside.pop(id(admission), None)

    def abandoned(self, admission: Admission) -> None:
        self.set_aside.pop(id(admission), None)


def counts(hard: Mapping[str, Quantity], kind: Kind) -> bool:
    return f"count/{kind.group_resource}" in hard or kind.group_resource in hard


def added(new: Usage, old: Usage, hard: Mapping[str, Quantity]) -> Usage:
    """What grows, of what the quota limits."""
    return {
        key: more
        for key, amount in new.items()
        if key in hard and compare(more := subtract(amount, old.get(key, ZERO)), "0") > 0
    }


def listed(keys: list[str], amounts: Mapping[str, Quantity]) -> str:
    return ",".join(f"{key}={amounts.get(key, ZERO)}" for key in keys)
