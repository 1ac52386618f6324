"""The cluster as the API server's own parts see it: admission, authorization, bootstrap.

Reads are the caches' objects, decoded; writes go through the same rules and admission as everybody's.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from kybern.api.codec import decode, to_builtins
from kybern.api.meta_v1 import DeleteOptions, Preconditions
from kybern.api.strict import decode_value
from kybern.apiserver.deletion import delete
from kybern.apiserver.frames import Event
from kybern.apiserver.item import Item
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import meta_of
from kybern.apiserver.options import Writing
from kybern.apiserver.request import User
from kybern.apiserver.storage import Storage, key_of
from kybern.apiserver.turns import DECODED_BYTES, in_turns
from kybern.apiserver.verbs.subresource import put_back
from kybern.apiserver.verbs.update import check_preconditions
from kybern.apiserver.writes import create, rewrite
from kybern.registry.resource import Obj, Resource

T = TypeVar("T")

SELF = User("system:apiserver", ("system:masters", "system:authenticated"))
MANAGER = "kube-apiserver"
KEPT_MAX = 2048  # objects kept decoded: the namespaces, accounts and roles in use, and some more


class ClusterObjects:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._kept: deque[Item] = deque(maxlen=KEPT_MAX)
        self._by_type: dict[type[Any], Storage] = {}
        for storage in machine.storages.values():
            self._by_type.setdefault(storage.resource.kind.type, storage)

    def get(self, type: type[T], name: str, namespace: str = "") -> T | None:
        item = self._storage(type).cache.get(namespace, name)
        return None if item is None else self._object(type, item)

    def list(self, type: type[T], namespace: str | None = None) -> Sequence[T]:
        storage = self._storage(type)
        return [decode(type, item.served) for item in storage.cache.all(namespace or "")]

    async def listed(self, type: type[T], namespace: str) -> Sequence[T]:
        items = self._storage(type).cache.all(namespace)
        return await in_turns(lambda item: decode(type, item.sent()), items, DECODED_BYTES)

    async def create(self, obj: T) -> T:
        storage = self._storage(type(obj))
        written = await create(self.machine, storage, obj, meta_of(obj).namespace or "", writing())
        return decode(type(obj), written.served)

    async def update(self, obj: T) -> T:
        return await self._rewrite(obj, writing(), lambda old: obj)

    async def update_status(self, obj: T) -> T:
        status = next(sub for sub in self._storage(type(obj)).resource.subresources if sub.name == "status")
        how = writing()
        how.subresource = "status"
        return await self._rewrite(obj, how, lambda old: put_back(status, old, obj))

    async def _rewrite(self, obj: T, how: Writing, changed: Callable[[Obj], Obj]) -> T:
        storage, meta = self._storage(type(obj)), meta_of(obj)
        name = meta.name or ""

        def change(old: Obj) -> Obj:
            check_preconditions(storage, name, meta, old)
            return changed(old)

        written = await rewrite(self.machine, storage, meta.namespace or "", name, change, how)
        return self.get(type(obj), name, meta.namespace or "") or decode(type(obj), written.served)

    async def delete(self, type: type[Any], name: str, namespace: str = "", *, uid: str = "") -> None:
        options = DeleteOptions(preconditions=Preconditions(uid=uid or None))
        await delete(self.machine, self._storage(type), namespace, name, options, writing())

    def _storage(self, type: type[Any]) -> Storage:
        found = self._by_type.get(type)
        if found is None:  # a custom kind, that may be gone tomorrow
            found = next(known for known in self.machine.storages.values() if known.resource.kind.type is type)
        return found

    async def converted(self, obj: Obj, is_of: Resource, wanted: Resource) -> Obj:
        conversion = self.machine.storages[key_of(wanted)].conversion
        if conversion is None:
            return wanted.from_storage(is_of.to_storage(obj))
        [made] = await conversion.convert([obj], wanted.kind.api_version)
        return decode_value(wanted.kind.type, to_builtins(made), False)[0]

    def resources(self) -> Iterable[Resource]:
        return self.machine.resources()

    def on_change(self, type: type[Any], call: Callable[[Any, Any], None], *, part: type[Any] | None = None) -> None:
        def told(event: Event) -> None:
            old, new = event.old, event.new
            call(old and self._object(type, old), new and self._object(type, new))

        def told_part(event: Event) -> None:
            old, new = event.old, event.new
            call(old and decode(part or type, old.value), new and decode(part or type, new.value))

        self._storage(type).cache.on_event.append(told if part is None else told_part)

    def _object(self, type_: type[T], item: Item) -> T:
        """An item as its Struct; kept on the item, for these parts look at the same few objects all the time. Only the
        last ones are kept: a decoded pod takes 12 KB, four times its bytes."""
        if item.obj is None:
            item.obj = decode(type_, item.sent())
            if len(self._kept) == KEPT_MAX:
                self._kept[0].obj = None
            self._kept.append(item)
        found: T = item.obj
        return found


def writing() -> Writing:
    return Writing(user=SELF, manager=MANAGER, internal=True)
