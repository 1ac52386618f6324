"""Values to values: an applied configuration over the live object, and what its manager no longer says, gone."""

from typing import Any

from kybern.api.apply.compare import by_step
from kybern.api.apply.fields import LEAF, Fields, is_member, key_step, value_step
from kybern.api.schema import Node


def merged(node: Node, live: Any, applied: Any) -> Any:
    """The live value with what the configuration says."""
    if node.atomic:
        return applied
    if isinstance(live, dict) and isinstance(applied, dict):
        found = dict(live)
        for key, item in applied.items():
            found[key] = merged(node.child(key), live[key], item) if key in live else item
        return found
    if isinstance(live, list) and isinstance(applied, list) and node.form == "list":
        return _merged_list(node, live, applied)
    return applied


def _merged_list(node: Node, live: list[Any], applied: list[Any]) -> list[Any]:
    """Applied items in their order; those that only the live object has keep their place among them."""
    wanted, present = by_step(node, applied), by_step(node, live)
    order = list(wanted)
    found: dict[str, Any] = {}
    at = 0
    for step, item in present.items():
        if step not in wanted:
            found[step] = item
        while step in wanted and step not in found:
            found[order[at]] = None
            at += 1
    found |= dict.fromkeys(order[at:])
    for step, item in wanted.items():
        found[step] = merged(node.item, present[step], item) if step in present else item
    return list(found.values())


def pruned(node: Node, value: Any, last: Fields, owned: Fields) -> Any:
    """The value without what `last` owned and nobody owns any more."""
    if isinstance(value, dict):
        return _pruned_map(node, value, last, owned)
    if isinstance(value, list) and node.form == "list" and not node.atomic:
        return _pruned_list(node, value, last, owned)
    return value


def _pruned_map(node: Node, value: dict[str, Any], last: Fields, owned: Fields) -> dict[str, Any]:
    found = dict(value)
    for step, branch in last.items():
        key = step[2:]
        if not step.startswith("f:") or key not in found:
            continue
        child, theirs = node.child(key), owned.get(step)
        if theirs is None and (is_member(branch) or node.form == "struct") and not _stays(node, child):
            del found[key]
        elif branch:
            found[key] = pruned(child, found[key], branch, theirs or LEAF)
    return found


def _stays(parent: Node, child: Node) -> bool:
    """Every object has its metadata, its spec and its required lists, whoever owns what is in them."""
    return parent.form == "struct" and child.always and not child.atomic


def _pruned_list(node: Node, value: list[Any], last: Fields, owned: Fields) -> list[Any]:
    found = []
    for item in value:
        step = key_step(item, node.keys, node.key_defaults) if node.keys else value_step(item)
        branch, theirs = last.get(step), owned.get(step)
        if branch is None:
            found.append(item)
        elif theirs is not None or not is_member(branch):
            rest = pruned(node.item, item, branch, theirs or LEAF)
            found.append(_with_keys(item, rest, node.keys) if isinstance(rest, dict) else rest)
    return found


def _with_keys(item: Any, rest: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """An item that stays keeps what tells it from others, whoever owned that."""
    return {**{name: item[name] for name in keys if name in item}, **rest}
