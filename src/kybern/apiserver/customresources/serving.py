"""What CustomResourceDefinitions define, served: each definition's versions as storages beside the built-in ones.

    crds = CustomResources(machine, objects, documents.invalidate)
    await crds.start()      # serves what is in the store
    await crds.run()        # follows every change, until cancelled

A pass looks at one definition as it is now: whatever woke it, it decides the names, serves, and then says so, so that
nobody who reads `Established` comes too early. What is served changes in one step; watches of a former schema end, and
their clients go on with the new one from where they were.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from kybern.aio.beside import beside
from kybern.api.apiextensions_v1 import (
    CustomResourceDefinition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionVersion,
)
from kybern.api.custom import CustomObject
from kybern.api.errors import ApiError, Conflict, NotFound
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.customresources.cleanup import Cleanup
from kybern.apiserver.customresources.conversion import WebhookConversion
from kybern.apiserver.customresources.feed import Feed
from kybern.apiserver.machine import Machine
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.storage import Storage, load_cache
from kybern.registry.customresources.conditions import NO_NAMES, is_true, status_of
from kybern.registry.customresources.resource import resource_of, storage_version
from kybern.registry.parts import changed
from kybern.registry.resource import Resource, is_large
from kybern.store.interface import StoreError

RETRY_SECONDS = 1.0

Named = tuple[str, CustomResourceDefinitionNames]
"""A definition's group, and the names that it has been given."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Installed:
    definition: CustomResourceDefinition
    served: tuple[Storage, ...]
    stored: Storage
    """The version that objects lie in the store in, served or not; what is of another is not converted."""
    feeds: tuple[Feed, ...] = ()
    running: list[asyncio.Task[None]] = field(default_factory=list)


class CustomResources:
    def __init__(
        self, machine: Machine, objects: ClusterObjects, invalidate: Callable[[], None], callouts: Callouts
    ) -> None:
        """`invalidate`: the documents about the API say something else now."""
        self.machine, self.objects, self.invalidate, self.callouts = machine, objects, invalidate, callouts
        self.installed: dict[str, Installed] = {}
        self.named: dict[str, Named] = {}
        """Every definition there is; to read them all for their names takes long."""
        self.waiting: asyncio.Queue[str] = asyncio.Queue()
        self.are_waiting: set[str] = set()
        self.cleaning: set[str] = set()
        self.tasks: asyncio.TaskGroup | None = None
        objects.on_change(CustomResourceDefinition, self._changed)

    async def start(self) -> None:
        for definition in self.objects.list(CustomResourceDefinition):
            self.note(definition)
            if is_true(definition, "Established"):
                await self.install(definition)
            self.wait(definition.metadata.name or "")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.tasks = tasks
            for installed in self.installed.values():
                self.begin(installed)
            while True:
                name = await self.waiting.get()
                self.are_waiting.discard(name)
                await asyncio.sleep(0)  # many may wait, and looking at each takes a while
                try:
                    await self.reconcile(name)
                except (Conflict, NotFound):
                    continue  # it has changed meanwhile, and that is on its way here
                except (ApiError, StoreError) as error:
                    log.error("%s: %s", name, error)
                    tasks.create_task(self._again(name))
                except Exception:
                    log.exception("the definition %s cannot be served", name)

    def _changed(self, old: CustomResourceDefinition | None, new: CustomResourceDefinition | None) -> None:
        found = new or old
        assert found is not None
        self.wait(found.metadata.name or "")
        if new is None:
            self.named.pop(found.metadata.name or "", None)
        else:
            self.note(new)
        had = old.status.accepted_names if old is not None else None
        if had is not None and (new is None or new.status.accepted_names != had):
            for name, _ in self.others(found):  # a name may have become free
                self.wait(name)

    def wait(self, name: str) -> None:
        """To be looked at, once, however much has happened to it."""
        if name not in self.are_waiting:
            self.are_waiting.add(name)
            self.waiting.put_nowait(name)

    def note(self, definition: CustomResourceDefinition) -> None:
        self.named[definition.metadata.name or ""] = definition.spec.group, definition.status.accepted_names or NO_NAMES

    async def _again(self, name: str) -> None:
        await self.machine.clock.sleep(RETRY_SECONDS)
        self.wait(name)

    def others(self, definition: CustomResourceDefinition) -> list[tuple[str, CustomResourceDefinitionNames]]:
        """The other definitions of the same group, and what they are called."""
        group, own = definition.spec.group, definition.metadata.name
        return [(name, names) for name, (of, names) in sorted(self.named.items()) if of == group and name != own]

    async def reconcile(self, name: str) -> None:
        definition = self.objects.get(CustomResourceDefinition, name)
        if definition is None:
            self.remove(name)
            return
        names = [names for _, names in self.others(definition)]
        status = status_of(definition, names, self.machine.now())
        now = changed(definition, status=status)
        if is_true(now, "Established"):
            await self.install(now)
        if status != definition.status:
            await self.objects.update_status(now)
        if definition.metadata.deletion_timestamp is not None and name not in self.cleaning:
            self.cleaning.add(name)
            assert self.tasks is not None
            self.tasks.create_task(self._clean(name))

    async def _clean(self, name: str) -> None:
        try:
            installed = self.installed.get(name)
            await Cleanup(self.machine, self.objects, name, installed.stored if installed else None).run()
        finally:
            self.cleaning.discard(name)

    # --- what is served -----------------------------------------------------------------------------------------------

    async def install(self, definition: CustomResourceDefinition) -> None:
        """Serve a definition as it is now; nothing happens where it is served so already."""
        name = definition.metadata.name or ""
        before = self.installed.get(name)
        if before is not None and is_same(before.definition, definition):
            return
        made = await self.storages(definition)
        self.remove(name)
        for storage in made.served:
            self.machine.install(storage)
        self.installed[name] = made
        if self.tasks is not None:
            self.begin(made)
        self.invalidate()

    async def storages(self, definition: CustomResourceDefinition) -> Installed:
        store = self.machine.store
        last = storage_version(definition)
        conversion = self.conversion(definition)
        stored = Storage(await resource(definition, last), CustomObject, store)
        await load_cache(stored, store)
        served, feeds = [], []
        for version in (version for version in definition.spec.versions if version.served):
            if conversion is None and version is last:
                served.append(stored)
                continue
            as_stored = f"{definition.spec.group}/{last.name}"
            storage = Storage(await resource(definition, version), CustomObject, store, conversion, as_stored)
            if conversion is None:
                await load_cache(storage, store)
            else:
                feeds.append(Feed(storage, store, self.machine.clock))
                await feeds[-1].start()
            served.append(storage)
        every = {id(storage): storage for storage in (stored, *served)}.values()
        for storage in every:
            storage.versions = [one for one in every if one.conversion is None]
        return Installed(definition, tuple(served), stored, tuple(feeds))

    def conversion(self, definition: CustomResourceDefinition) -> WebhookConversion | None:
        """None where versions differ in name only, or there is but one."""
        asked = definition.spec.conversion
        if asked is None or asked.strategy != "Webhook" or len(definition.spec.versions) < 2:
            return None
        return WebhookConversion(definition, self.callouts, self.machine.ids)

    def begin(self, installed: Installed) -> None:
        assert self.tasks is not None
        installed.running.extend(self.tasks.create_task(feed.run()) for feed in installed.feeds)

    def remove(self, name: str) -> None:
        before = self.installed.pop(name, None)
        if before is None:
            return
        for storage in before.served:
            self.machine.remove(storage)
        for storage in (*before.served, before.stored):
            storage.cache.close()
        for feed in before.feeds:
            feed.close()
        for task in before.running:
            task.cancel()
        self.invalidate()


async def resource(definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion) -> Resource:
    """What a definition says, compiled; while that takes long, others go on."""
    return await beside(lambda: resource_of(definition, version), is_large(definition))


def is_same(one: CustomResourceDefinition, other: CustomResourceDefinition) -> bool:
    """Whether two states of a definition are served in the same way."""
    return (
        one.metadata.uid == other.metadata.uid
        and one.spec == other.spec
        and one.status.accepted_names == other.status.accepted_names
        and is_true(one, "Terminating") == is_true(other, "Terminating")
    )
