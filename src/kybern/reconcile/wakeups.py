"""Which keys a change wakes: the object itself, its controller, whoever selects it, whoever asked to be told."""

from collections.abc import Callable, Iterable
from typing import Any

from kybern.api.selectors import NOTHING, Selector, of_label_selector
from kybern.client import View
from kybern.client.paths import kind_of
from kybern.reconcile.controller import Controller, Key
from kybern.reconcile.ownership import controller_of

Wake = Callable[[Key], None]


async def connect(controller: Controller[Any], view: View, wake: Wake) -> None:
    """Let changes of the View wake keys. What exists already wakes them at once."""
    await view.on_change_of_many(controller.reconciles, _waking_itself(controller, wake))
    for of in controller.owns:
        await view.on_change_of_many(of, _waking_owners(controller, view, wake))
    for watch in controller.watches:
        await view.on_change_of_many(watch.type, _waking(watch.keys, view, wake))


def _waking_itself(controller: Controller[Any], wake: Wake) -> Callable[[Any, Any], None]:
    concerns = controller.concerns

    def changed(old: Any, new: Any) -> None:
        if (new is not None and concerns(new)) or (old is not None and concerns(old)):
            wake(Key.of(old if new is None else new))

    return changed


def _waking(keys: Callable[[Any, View], Iterable[Key]], view: View, wake: Wake) -> Callable[[Any, Any], None]:
    def changed(old: Any, new: Any) -> None:
        for obj in (old, new):
            for key in keys(obj, view) if obj is not None else ():
                wake(key)

    return changed


def _waking_owners(controller: Controller[Any], view: View, wake: Wake) -> Callable[[Any, Any], None]:
    kind = kind_of(controller.reconciles)

    def owner(obj: Any) -> Key | None:
        ref = controller_of(obj)
        if (
            ref is None
            or ref.kind != kind.kind
            or ref.api_version.partition("/")[0] != kind.api_version.partition("/")[0]
        ):
            return None
        return Key(obj.metadata.namespace or "" if kind.namespaced else "", ref.name)

    def changed(old: Any, new: Any) -> None:
        owners = {owner(obj) for obj in (old, new) if obj is not None}
        for key in owners - {None}:
            wake(key)  # type: ignore[arg-type]
        if new is not None and controller_of(new) is None:
            for key in selecting(controller, new, view):
                wake(key)

    return changed


def selecting(controller: Controller[Any], obj: Any, view: View) -> Iterable[Key]:
    """The keys of all objects that select `obj`, in its namespace."""
    for owner in view.list(controller.reconciles, obj.metadata.namespace or ""):
        if selector_of(controller.selects(owner)).matches(obj.metadata.labels):
            yield Key.of(owner)


def selector_of(selected: Any) -> Selector:
    if selected is None or isinstance(selected, Selector):
        return selected or NOTHING
    try:
        return of_label_selector(selected)
    except ValueError:
        return NOTHING
