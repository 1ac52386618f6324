"""What every verb works with: the store, the clock, identity, the admission plugins, and a storage for each resource."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kybern.aio.clock import Clock, rfc3339
from kybern.aio.ids import Ids
from kybern.apiserver.admission.plugin import Plugin
from kybern.apiserver.request import Admission, AdmissionPlugin, ReservingPlugin
from kybern.apiserver.storage import GroupVersionResource, Storage, key_of
from kybern.registry.resource import Resource
from kybern.store.interface import Store


class Calls:
    """What is called about a write of a kind: most plugins have to do with few kinds, and do nothing in one of the calls.
    That is found out once, not at every write."""

    __slots__ = ("admitting", "reserving", "validating")

    def __init__(self, plugins: Iterable[AdmissionPlugin]) -> None:
        known = tuple(plugins)
        self.reserving = [plugin for plugin in known if isinstance(plugin, ReservingPlugin)]
        self.admitting = [plugin for plugin in known if does(plugin, "admit") and plugin not in self.reserving]
        self.validating = [plugin for plugin in known if does(plugin, "validate")]


@dataclass(slots=True)
class Machine:
    store: Store
    storages: dict[GroupVersionResource, Storage]
    clock: Clock
    ids: Ids
    served: dict[GroupVersionResource, Resource] = field(default_factory=dict)
    """What has an address: these two tables alone say so, and custom kinds come and go in them."""
    plugins: Sequence[AdmissionPlugin] = ()
    others: Calls = field(default_factory=lambda: Calls(()))
    """The calls about kinds that no plugin names."""
    calls: dict[type[Any], Calls] = field(default_factory=dict)
    """The calls about those that some do."""
    _now: tuple[int, str] = (-1, "")

    def use(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self.plugins = plugins
        self.others = Calls(plugin for plugin in plugins if not plugin.kinds)
        self.calls = {of: Calls(concerned(plugins, of)) for plugin in plugins for of in plugin.kinds}

    def calls_about(self, admission: Admission) -> Calls:
        return self.calls.get(admission.resource.kind.type, self.others)

    def resources(self) -> Iterable[Resource]:
        return self.served.values()

    def install(self, storage: Storage) -> None:
        key = key_of(storage.resource)
        self.served[key], self.storages[key] = storage.resource, storage

    def remove(self, storage: Storage) -> None:
        key = key_of(storage.resource)
        if self.storages.get(key) is storage:
            del self.served[key], self.storages[key]

    def now(self) -> str:
        """The second that it is, as objects carry it; put into words once."""
        second = int(self.clock.wall())
        if second != self._now[0]:
            self._now = second, rfc3339(second)
        return self._now[1]


def concerned(plugins: Iterable[AdmissionPlugin], of: type[Any]) -> Iterator[AdmissionPlugin]:
    """The plugins that have to do with a kind."""
    return (plugin for plugin in plugins if not plugin.kinds or of in plugin.kinds)


def does(plugin: AdmissionPlugin, call: str) -> bool:
    """Whether a plugin has this call of its own, and not the empty one that it inherits."""
    return getattr(type(plugin), call, None) is not getattr(Plugin, call)


class reserved:
    """Around a write: tells plugins that set something aside how it ended. Whoever writes sets `written`."""

    __slots__ = ("admission", "machine", "written")

    def __init__(self, machine: Machine, admission: Admission) -> None:
        self.machine = machine
        self.admission = admission
        self.written = False

    def __enter__(self) -> "reserved":
        return self

    def __exit__(self, *_: object) -> None:
        for plugin in self.machine.calls_about(self.admission).reserving:
            (plugin.committed if self.written else plugin.abandoned)(self.admission)


async def admit(machine: Machine, admission: Admission) -> None:
    """Who sets something aside comes last and once; the others once more, where a webhook or policy asked for it."""
    calls = machine.calls_about(admission)
    for plugin in calls.admitting:
        await plugin.admit(admission)
    if admission.reinvocation.wanted:
        admission.reinvocation.round = 1
        for plugin in calls.admitting:
            await plugin.admit(admission)
    for plugin in calls.reserving:
        await plugin.admit(admission)


async def validate(machine: Machine, admission: Admission) -> None:
    for plugin in machine.calls_about(admission).validating:
        await plugin.validate(admission)
