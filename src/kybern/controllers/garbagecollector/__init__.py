"""garbage collector: delete what belonged to something that is gone, for every kind the server has.

It follows the metadata of all kinds, custom ones too, in one graph (`graph`); what the View follows anyway is shared
with it. It asks the server itself before it believes that an owner does not exist: a graph may be late, and a deletion
cannot be taken back.
"""

import asyncio
import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from kybern.aio.timeouts import timeout
from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.apiregistration_v1 import APIService
from kybern.api.codec import decode, to_builtins
from kybern.api.core_v1 import ObjectReference
from kybern.api.errors import ApiError, Conflict, Invalid, NotFound
from kybern.api.kind import Kind
from kybern.api.meta_v1 import ObjectMeta, OwnerReference
from kybern.client import Client
from kybern.client.client import METADATA, Meta
from kybern.client.discovery import discover
from kybern.client.paths import kind_of, path_of
from kybern.client.reflector import Reflector, Source
from kybern.controllers.garbagecollector.graph import (
    ORPHAN,
    Action,
    Delete,
    Finish,
    Graph,
    Item,
    KindSink,
    Nothing,
    Orphan,
    SetOwners,
    collectable,
    decide,
    unknown_owners,
)
from kybern.reconcile import Running
from kybern.reconcile.controller import Surroundings
from kybern.reconcile.queue import Queue

DISCOVER_SECONDS = 1800.0  # for what no change of a definition or an API service tells
RETRY_SECONDS = 1.0
UNANSWERED_SECONDS = 30.0
ABSENT_MAX = 500  # upstream's
SERVES = (CustomResourceDefinition, APIService)
WORKERS = 20

log = logging.getLogger(__name__)


class UnknownKind(Exception):
    """An owner is of a kind that the server does not have: whether it exists cannot be told."""


class Collector:
    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.queue: Queue[str] = Queue()
        around.metrics.queues["garbagecollector"] = self.queue
        self.graph = Graph(self.queue.add)
        self.kinds: list[Kind] = []
        self.sinks: dict[Kind, KindSink] = {}
        self.shared: set[Kind] = set()
        self.reflecting: dict[Kind, asyncio.Task[None]] = {}
        self.absent: dict[tuple[str, str], None] = {}
        """Owners that the server did not have in a namespace, the last ones that were asked for."""
        self.ready = asyncio.Event()
        self.served_changed = asyncio.Event()

    async def run(self) -> None:
        for of in SERVES:
            self.around.view.on_change(of, lambda old, new: self.served_changed.set())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_kinds(tasks))
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    # Following every kind there is.

    async def _follow_kinds(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            wait = RETRY_SECONDS
            try:
                kinds, failed = await discover(self.around.client)
            except ApiError as error:
                log.info("garbage collector: %s", error.message)
            else:
                wait = UNANSWERED_SECONDS if failed else DISCOVER_SECONDS
                if kinds != self.kinds or failed:
                    self.kinds = kinds
                    await self._follow(collectable(kinds), complete=not failed, tasks=tasks)
            self.served_changed.clear()
            await self._until_served_changes(wait)

    async def _until_served_changes(self, seconds_max: float) -> None:
        """Until a custom kind or an aggregated API comes, changes or goes; at most so long."""
        try:
            async with timeout(seconds_max):
                await self.served_changed.wait()
        except TimeoutError:
            return
        await self.around.clock.sleep(RETRY_SECONDS)  # the server needs a moment to serve it

    async def _follow(self, kinds: Iterable[Kind], *, complete: bool, tasks: asyncio.TaskGroup) -> None:
        followed = {(kind_of(of).group, kind_of(of).kind): of for of in self.around.view.followed()}
        wanted = {kind: followed.get((kind.group, kind.kind)) for kind in kinds}
        for kind in [kind for kind in self.reflecting if complete and kind not in wanted]:
            self.reflecting.pop(kind).cancel()
            del self.sinks[kind]
            self.graph.forget(kind)
        for kind, of in wanted.items():  # these first: once every sink is listed, decisions begin
            if kind not in self.reflecting and of is not None:
                await self._share(kind, of)
        for kind, of in wanted.items():
            if kind not in self.reflecting and of is None:
                self.sinks[kind] = sink = KindSink(kind, self.graph, self._listed)
                self.reflecting[kind] = tasks.create_task(self._reflector(kind, sink).run())
        self._listed()

    async def _share(self, kind: Kind, of: type[Any]) -> None:
        if kind not in self.shared:
            self.shared.add(kind)
            await self.around.view.on_change_of_many(of, partial(self.graph.follow, kind))

    def _reflector(self, kind: Kind, sink: KindSink) -> Reflector:
        around = self.around
        return Reflector(around.client, Source(kind, metadata_only=True), sink, around.clock, around.ids.rng)

    def _listed(self) -> None:
        """Decisions wait until every kind was listed once: a dependent that is not known cannot block."""
        if all(sink.is_listed for sink in self.sinks.values()):
            self.ready.set()
        else:
            self.ready.clear()

    # Deciding and acting.

    async def _work(self) -> None:
        while True:
            uid = await self.queue.get()
            try:
                await self.ready.wait()
                await self.collect(uid)
            except (Conflict, Invalid):
                self.queue.add_after(uid, 0.05)  # the object has changed: its change is on its way to the graph
            except (ApiError, UnknownKind) as error:
                log.debug("garbage collector: %s", error)
                self.queue.retry(uid)
            else:
                self.queue.forget(uid)
            finally:
                self.queue.done(uid)

    async def collect(self, uid: str) -> None:
        item = self.graph.items.get(uid)
        if item is None:
            return
        unknown = unknown_owners(item, self.graph)
        exists = {ref.uid: await self._exists(ref, item) for ref in unknown}
        if self.graph.items.get(uid) is not item:
            self.queue.add(uid)  # it changed while the server was asked
            return
        try:
            await carry_out(decide(item, self.graph, exists), self.around.client)
        except NotFound:
            pass

    async def _exists(self, ref: OwnerReference, item: Item) -> bool:
        kind = self._kind(ref)
        if kind.namespaced and not item.kind.namespaced:
            raise UnknownKind(f"{item.meta.name} is in no namespace, and names a {ref.kind} as its owner")
        namespace = (item.meta.namespace or "") if kind.namespaced else ""
        if (ref.uid, namespace) in self.absent:
            return False
        if await self._ask(ref, kind, namespace):
            return True
        self.absent[ref.uid, namespace] = None  # it is gone for good: no uid is given twice
        if len(self.absent) > ABSENT_MAX:
            del self.absent[next(iter(self.absent))]
        if ref.uid in self.graph.items:
            where = f"{ref.api_version}/{ref.kind}, namespace: {namespace}, name: {ref.name}, uid: {ref.uid}"
            self._tell(item, f'ownerRef [{where}] does not exist in namespace "{namespace}"')
        return False

    def _tell(self, item: Item, message: str) -> None:
        meta, kind = item.meta, item.kind
        about = ObjectReference(
            api_version=kind.api_version, kind=kind.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid
        )
        self.around.events.event(about, "Warning", "OwnerRefInvalidNamespace", message)

    async def _ask(self, ref: OwnerReference, kind: Kind, namespace: str) -> bool:
        path = path_of(kind, namespace, ref.name)
        try:
            found = decode(Meta, await self.around.client.request("GET", path, accept=METADATA)).metadata
        except NotFound:
            return False
        return found.uid == ref.uid

    def _kind(self, ref: OwnerReference) -> Kind:
        group = ref.api_version.rpartition("/")[0]
        for kind in self.kinds:
            if kind.kind == ref.kind and kind.group == group:
                return kind
        raise UnknownKind(f"{ref.api_version} {ref.kind}")


async def carry_out(action: Action, client: Client) -> None:
    match action:
        case Nothing():
            pass
        case Delete(item, propagation):
            await client.delete_kind(
                item.kind,
                item.meta.name or "",
                item.meta.namespace or "",
                uid=item.uid,
                resource_version=item.meta.resource_version or "",
                propagation=propagation,
            )
        case SetOwners(item, owners):
            await set_meta(item, client, ownerReferences=[to_builtins(ref) for ref in owners])
        case Finish(item, finalizer):
            await finish(item, finalizer, client)
        case Orphan(item, dependents):
            for dependent in dependents:
                await orphan(dependent, item, client)
            await finish(item, ORPHAN, client)


async def orphan(dependent: Item, owner: Item, client: Client) -> None:
    left = [to_builtins(ref) for ref in dependent.owners if ref.uid != owner.uid]
    try:
        await set_meta(dependent, client, ownerReferences=left)
    except NotFound:
        pass


async def finish(item: Item, finalizer: str, client: Client) -> None:
    await set_meta(item, client, finalizers=[name for name in item.meta.finalizers or () if name != finalizer])


async def set_meta(item: Item, client: Client, **fields: list[object]) -> ObjectMeta:
    """Conflict when the object is no longer as the graph knows it."""
    meta = {"uid": item.uid, "resourceVersion": item.meta.resource_version, **fields}
    name, namespace = item.meta.name or "", item.meta.namespace or ""
    return decode(Meta, await client.patch_kind(item.kind, name, namespace, {"metadata": meta})).metadata


async def run(around: Surroundings) -> None:
    await Collector(around).run()


GARBAGECOLLECTOR = Running(name="garbagecollector", by=run, kinds=SERVES)
