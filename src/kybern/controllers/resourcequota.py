"""resourcequota: every quota's status says what is allowed and what is used, as admission counts it.

Pods, Services and claims of volumes and devices cost what their specs say, so the View has them whole. Of anything else only the number
matters: what a quota counts by name (`count/deployments.apps`, custom kinds too) is followed as bare metadata, from when
the first quota asks for it.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.core_v1 import PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaStatus, Service
from kybern.api.kind import Kind
from kybern.api.quantity import add
from kybern.api.resource_v1 import DeviceClass, ResourceClaim
from kybern.api.shape import Quantity
from kybern.client import Client, View
from kybern.client.cache import Cache
from kybern.client.client import Meta
from kybern.client.discovery import discover
from kybern.client.paths import kind_of
from kybern.client.reflector import Reflector, Source
from kybern.reconcile import After, Context, Controller, Key, Running
from kybern.reconcile.controller import Surroundings, Watch
from kybern.reconcile.run import Workers
from kybern.registry.device_usage import Known
from kybern.registry.quota_usage import COUNTED_BY_NAME, Usage, matches, usage_of

RESYNC_SECONDS = 300.0  # upstream's
REST_SECONDS = 0.2  # a namespace at work changes many times a second; what was released is told within one
LISTING_SECONDS = 0.1
COSTING: tuple[type[Any], ...] = (Pod, Service, PersistentVolumeClaim, ResourceClaim)
COSTING_NAMES = frozenset(kind_of(of).group_resource for of in COSTING)
ZERO = Quantity("0")

log = logging.getLogger(__name__)

Counted = Iterable[tuple[Any, Kind]]


def counted_by_name(hard: Iterable[str]) -> set[str]:
    """The resources of which a quota wants to know the number only."""
    names = {key.removeprefix("count/") for key in hard if key.startswith("count/") or key in COUNTED_BY_NAME}
    return names - COSTING_NAMES


def used(
    quota: ResourceQuota, objects: Counted, unknown: set[str], now: float = 0.0, known: Known | None = None
) -> Usage:
    """What the objects that are in the quota's scopes cost, of what it limits; of resources that are unknown what was said
    before stays."""
    hard, before = quota.spec.hard or {}, quota.status.used or {}
    astray = {key for key in hard if key.removeprefix("count/") in unknown}
    said = (key for key in hard if key not in astray or key in before)
    total: Usage = {key: before[key] if key in astray else ZERO for key in said}
    for obj, kind in objects:
        if matches(quota, obj):
            for key, amount in usage_of(obj, kind, now, known).items():
                if key in total:
                    total[key] = add(total[key], amount)
    return total


def status_of(
    quota: ResourceQuota, objects: Counted, unknown: set[str], now: float, known: Known | None = None
) -> ResourceQuotaStatus:
    return ResourceQuotaStatus(hard=quota.spec.hard, used=used(quota, objects, unknown, now, known))


def quotas_beside(obj: Any, view: View) -> Iterator[Key]:
    for quota in view.list(ResourceQuota, obj.metadata.namespace or ""):
        yield Key.of(quota)


def every_quota(changed: CustomResourceDefinition | DeviceClass, view: View) -> Iterator[Key]:
    """What is served has changed, for which a quota may have waited, or what the devices of a class are called."""
    return map(Key.of, view.list(ResourceQuota))


class Quotas:
    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.kinds: Mapping[str, Kind] = {}
        self.caches: dict[str, Cache[Meta]] = {}
        """By the name of their resource: `deployments.apps`."""
        self.workers = Workers(
            Controller(
                name="resourcequota",
                reconciles=ResourceQuota,
                by=self.reconcile,
                watches=(
                    *(Watch(of, quotas_beside) for of in COSTING),
                    *(Watch(of, every_quota) for of in (CustomResourceDefinition, DeviceClass)),
                ),
                resync_seconds=RESYNC_SECONDS,
                rest_seconds=REST_SECONDS,
            ),
            around,
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.tasks = tasks
            tasks.create_task(self.workers.run())

    async def reconcile(self, quota: ResourceQuota, view: View, client: Client, context: Context) -> After | None:
        wanted = counted_by_name(quota.spec.hard or {})
        if not wanted <= self.caches.keys():
            await self.follow(wanted)
        if not all(self.caches[name].listed for name in wanted & self.caches.keys()):
            return After(LISTING_SECONDS)
        objects = self.objects(quota.metadata.namespace or "", wanted)
        status = status_of(quota, objects, wanted - self.caches.keys(), context.now, Known(view))
        if status != quota.status:
            await client.update_status(replace(quota, status=status))
        return None

    def objects(self, namespace: str, wanted: set[str]) -> Iterator[tuple[Any, Kind]]:
        for of in COSTING:
            for obj in self.around.view.list(of, namespace):
                yield obj, kind_of(of)
        for name in wanted & self.caches.keys():
            for meta in self.caches[name].by_index("namespace", namespace):
                yield meta, self.kinds[name]

    async def follow(self, wanted: set[str]) -> None:
        """Begin to follow what is served of these; what is not may come later, and is asked for again."""
        found, failed = await discover(self.around.client)
        self.kinds = {**self.kinds, **{kind.group_resource: kind for kind in found if kind.namespaced}}
        if failed:
            log.info("resourcequota: no answer from %s", ", ".join(failed))
        for name in wanted & self.kinds.keys() - self.caches.keys():
            cache: Cache[Meta] = Cache(lambda: None)
            cache.listeners.append(self.changed)
            self.caches[name] = cache
            self.tasks.create_task(self.reflector(self.kinds[name], cache).run())

    def reflector(self, kind: Kind, cache: Cache[Meta]) -> Reflector:
        around = self.around
        return Reflector(around.client, Source(kind, metadata_only=True), cache, around.clock, around.ids.rng)

    def changed(self, old: Meta | None, new: Meta | None) -> None:
        if old is not None and new is not None:
            return  # their number is the same
        for key in quotas_beside(old or new, self.around.view):
            self.workers.queue.add(key)


async def run(around: Surroundings) -> None:
    await Quotas(around).run()


RESOURCEQUOTA = Running(
    name="resourcequota", by=run, kinds=(ResourceQuota, *COSTING, CustomResourceDefinition, DeviceClass)
)
