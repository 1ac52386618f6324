"""`Objects` without a server: what the API server's own parts see, kept in a dictionary.

Rules, admission and storage take no part; a write is at once visible and told of, uids count up.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from kybern.api.codec import from_builtins, to_builtins
from kybern.api.errors import About, already_exists, not_found
from kybern.registry.resource import Resource

T = TypeVar("T")


class MemoryObjects:
    def __init__(self, *objects: Any) -> None:
        self.held: dict[type[Any], dict[tuple[str, str], Any]] = {}
        self.calls: dict[type[Any], list[Callable[[Any, Any], None]]] = {}
        self.count = 0
        for obj in objects:
            self.put(obj)

    def put(self, obj: Any) -> Any:
        """Made or replaced, as given but for a uid where it has none."""
        self.count += 1
        if not obj.metadata.uid:
            obj = replace(obj, metadata=replace(obj.metadata, uid=f"uid-{self.count}"))
        held = self.held.setdefault(type(obj), {})
        old, held[key_of(obj)] = held.get(key_of(obj)), obj
        self.tell(type(obj), old, obj)
        return obj

    def remove(self, obj: Any) -> None:
        old = self.held[type(obj)].pop(key_of(obj))
        self.tell(type(obj), old, None)

    def tell(self, kind: type[Any], old: Any, new: Any) -> None:
        for call in self.calls.get(kind, []):
            call(old, new)

    def get(self, type: type[T], name: str, namespace: str = "") -> T | None:
        return self.held.get(type, {}).get((namespace, name))

    def list(self, type: type[T], namespace: str | None = None) -> Sequence[T]:
        return [obj for (at, _), obj in self.held.get(type, {}).items() if namespace in (None, at)]

    async def listed(self, type: type[T], namespace: str) -> Sequence[T]:
        return self.list(type, namespace)

    async def create(self, obj: T) -> T:
        made: Any = obj
        if key_of(made) in self.held.get(type(obj), {}):
            raise already_exists(About(resource=type(obj).__name__, name=made.metadata.name))
        stored: T = self.put(obj)
        return stored

    async def update(self, obj: T) -> T:
        made: Any = obj
        if key_of(made) not in self.held.get(type(obj), {}):
            raise not_found(About(resource=type(obj).__name__, name=made.metadata.name))
        stored: T = self.put(obj)
        return stored

    async def update_status(self, obj: T) -> T:
        return await self.update(obj)

    async def delete(self, type: type[Any], name: str, namespace: str = "", *, uid: str = "") -> None:
        found = self.get(type, name, namespace)
        if found is None:
            raise not_found(About(resource=type.__name__, name=name))
        self.remove(found)

    async def converted(self, obj: Any, is_of: Resource, wanted: Resource) -> Any:
        return wanted.from_storage(is_of.to_storage(obj))

    def resources(self) -> Iterable[Resource]:
        return ()

    def on_change(self, type: type[Any], call: Callable[[Any, Any], None], *, part: type[Any] | None = None) -> None:
        def told(old: Any, new: Any) -> None:
            parts = (obj and from_builtins(part or type, to_builtins(obj)) for obj in (old, new))
            call(*parts)

        self.calls.setdefault(type, []).append(call if part is None else told)


def key_of(obj: Any) -> tuple[str, str]:
    return (obj.metadata.namespace or "", obj.metadata.name)
