"""The objects of a kind that is looked at on every write: followed by namespace, instead of listed each time."""

from collections.abc import Collection
from typing import Any, Generic, TypeVar

from kybern.apiserver.request import Objects

T = TypeVar("T")


class Followed(Generic[T]):
    def __init__(self, objects: Objects, kind: type[T]) -> None:
        self.held: dict[str, dict[str, T]] = {}
        objects.on_change(kind, self.changed)
        for obj in objects.list(kind):
            self.changed(None, obj)

    def changed(self, old: Any, new: Any) -> None:
        metadata = (new or old).metadata
        namespace, name = metadata.namespace or "", metadata.name or ""
        if new is not None:
            self.held.setdefault(namespace, {})[name] = new
            return
        held = self.held.get(namespace, {})
        held.pop(name, None)
        if not held:
            self.held.pop(namespace, None)

    def of(self, namespace: str = "") -> Collection[T]:
        return self.held.get(namespace, {}).values()
