"""What every verb works with: the store, the clock, identity, the admission plugins, and a storage for each resource."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kybern.aio.clock import Clock, rfc3339
from kybern.aio.ids import Ids
from kybern.apiserver.admission.plugin import Plugin
from kybern.apiserver.request import Admission, AdmissionPlugin, ReservingPlugin
from kybern.apiserver.storage import GroupVersionResource, Storage, key_of
from kybern.registry.resource import Resource
from kybern.store.interface import Store


@dataclass(slots=True)
class Machine:
    store: Store
    storages: dict[GroupVersionResource, Storage]
    clock: Clock
    ids: Ids
    served: dict[GroupVersionResource, Resource] = field(default_factory=dict)
    """What has an address: these two tables alone say so, and custom kinds come and go in them."""
    plugins: Sequence[AdmissionPlugin] = ()
    admitting: Sequence[AdmissionPlugin] = ()
    validating: Sequence[AdmissionPlugin] = ()
    reserving: Sequence[ReservingPlugin] = ()
    """Those of the plugins that do anything there: asked of their types once, not at every write."""
    _now: tuple[int, str] = (-1, "")

    def use(self, plugins: Sequence[AdmissionPlugin]) -> None:
        self.plugins = plugins
        self.admitting = [
            plugin for plugin in plugins if does(plugin, "admit") and not isinstance(plugin, ReservingPlugin)
        ]
        self.validating = [plugin for plugin in plugins if does(plugin, "validate")]
        self.reserving = [plugin for plugin in plugins if isinstance(plugin, ReservingPlugin)]

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
        for plugin in self.machine.reserving:
            (plugin.committed if self.written else plugin.abandoned)(self.admission)


async def admit(machine: Machine, admission: Admission) -> None:
    """Who sets something aside comes last and once; the others once more, where a webhook or policy asked for it."""
    for plugin in machine.admitting:
        await plugin.admit(admission)
    if admission.reinvocation.wanted:
        admission.reinvocation.round = 1
        for plugin in machine.admitting:
            await plugin.admit(admission)
    for plugin in machine.reserving:
        await plugin.admit(admission)


async def validate(machine: Machine, admission: Admission) -> None:
    for plugin in machine.validating:
        await plugin.validate(admission)
