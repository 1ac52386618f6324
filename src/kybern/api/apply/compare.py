"""Values to sets of fields: what a write added, changed and removed, and what a configuration wants to own.

`changes` runs with every write, so it looks only at what differs and never builds a path.
What upstream keeps out of managedFields (names, versions, what the server alone sets) is kept out here.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kybern.api.apply.fields import LEAF, SELF, Fields, key_step, value_step
from kybern.api.schema import ANY, Node

UNOWNED_METADATA = frozenset(
    ("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields",
     "resourceVersion")
)  # fmt: skip

KEPT_STRUCTS_MAX, KEPT_KEYS_MAX = 512, 256
"""Of structs whose likes are written again: most of the fields of most objects are the same as those of others."""


def owned_part(document: Mapping[str, Any], ignored: tuple[str, ...] = ()) -> dict[str, Any]:
    """The object without what nobody owns, and without the top-level fields that are ignored here."""
    found = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", *ignored)}
    metadata = {key: value for key, value in (found.get("metadata") or {}).items() if key not in UNOWNED_METADATA}
    found["metadata"] = metadata
    if not metadata:
        del found["metadata"]
    return found


# --- what is new ------------------------------------------------------------------------------------------------------


def added(node: Node, value: Any) -> Fields:
    """The set of a value that was not there before: everything in it, and itself."""
    kind = type(value)
    if not value or node.atomic:
        return LEAF
    if kind is dict:
        if node.form == "struct":
            return _added_struct(node, value)
        found: Fields = {} if node.always else {SELF: LEAF}
        items = node.items or ANY
        for key, item in value.items():
            found["f:" + key] = LEAF if items.form == "scalar" else _added_item(items, item)
        return found
    if kind is list and node.form == "list":
        found = {} if node.always else {SELF: LEAF}
        items, keys, defaults = node.items or ANY, node.keys, node.key_defaults
        for item in value:
            if keys:
                found[key_step(item, keys, defaults)] = _added_item(items, item)
            else:
                found[value_step(item)] = LEAF
        return found
    return LEAF


def _added_struct(node: Node, value: Mapping[str, Any]) -> Fields:
    keys = tuple(value)
    found, open_keys = (_kept_by_name if len(keys) <= KEPT_KEYS_MAX else _by_name)(node, keys)
    if not open_keys:
        return found
    found = dict(found)
    fields = node.fields
    for key in open_keys:
        found["f:" + key] = added(fields.get(key, ANY), value[key])
    return found


def _by_name(node: Node, keys: tuple[str, ...]) -> tuple[Fields, tuple[str, ...]]:
    """The set of a struct with these fields, whatever is in them; and those of them in which that has to be looked at."""
    found: Fields = {} if node.always else {SELF: LEAF}
    fields = node.fields
    for key in keys:
        found["f:" + key] = LEAF
    return found, tuple(key for key in keys if not fields.get(key, ANY).atomic)


_kept_by_name = lru_cache(maxsize=KEPT_STRUCTS_MAX)(_by_name)


def _added_item(node: Node, item: Any) -> Fields:
    """An item of a list or map owns itself, whatever its type says."""
    found = added(node, item)
    return {SELF: LEAF, **found} if found and SELF not in found else found


# --- what differs -----------------------------------------------------------------------------------------------------


def changes(node: Node, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Fields, Fields]:
    """The set of what was added or changed, and the branches that were removed."""
    changed: Fields = {}
    removed: Fields = {}
    for key, item in new.items():
        if key not in old:
            child = node.child(key)
            changed["f:" + key] = added(child, item) if node.form == "struct" else _added_item(child, item)
        elif old[key] != item:
            _differ(node.child(key), old[key], item, "f:" + key, changed, removed)
    for key in old:
        if key not in new:
            removed["f:" + key] = LEAF
    return changed, removed


def _differ(node: Node, old: Any, new: Any, step: str, changed: Fields, removed: Fields) -> None:
    """Two values at one step are not the same: what of them is changed, what removed?"""
    if not node.atomic and isinstance(old, dict) and isinstance(new, dict):
        below, gone = changes(node, old, new)
    elif not node.atomic and node.form == "list" and isinstance(old, list) and isinstance(new, list):
        below, gone = _list_changes(node, old, new)
    else:
        changed[step] = LEAF
        return
    if below:
        changed[step] = below
    if gone:
        removed[step] = gone


def _list_changes(node: Node, old: list[Any], new: list[Any]) -> tuple[Fields, Fields]:
    before, after = by_step(node, old), by_step(node, new)
    changed: Fields = {}
    removed: Fields = {}
    for step, item in after.items():
        if step not in before:
            changed[step] = _added_item(node.item, item)
        elif before[step] != item:
            _differ(node.item, before[step], item, step, changed, removed)
    for step in before:
        if step not in after:
            removed[step] = LEAF
    return changed, removed


def by_step(node: Node, items: list[Any]) -> dict[str, Any]:
    """The items of a keyed list or set by their steps; the last of those that cannot be told apart."""
    keys, defaults = node.keys, node.key_defaults
    return {key_step(item, keys, defaults) if keys else value_step(item): item for item in items}


# --- what a configuration owns ----------------------------------------------------------------------------------------


def configured(node: Node, value: Any) -> Fields | None:
    """The set that an applied configuration owns; None for a list without items, which owns nothing.

    Unlike `added` it leaves out the maps and structs around the fields: only what is said is owned.
    """
    if isinstance(value, dict) and value and not node.atomic:
        found: Fields = {}
        for key, item in value.items():
            below = configured(node.child(key), item)
            if below is not None:
                found["f:" + key] = below if node.form == "struct" or not below else {SELF: LEAF, **below}
        return found
    if isinstance(value, list) and node.form == "list" and not node.atomic:
        return _configured_list(node, value) or None
    return LEAF


def _configured_list(node: Node, items: list[Any]) -> Fields:
    found: Fields = {}
    for step, item in by_step(node, items).items():
        below = configured(node.item, item) if node.keys else LEAF
        found[step] = {SELF: LEAF, **below} if below else LEAF
    return found
