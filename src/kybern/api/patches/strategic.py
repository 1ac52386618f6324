"""Strategic merge patch: a merge patch that knows the schema, so that lists merge by key instead of being replaced.

Maps merge, null deletes. A list merges where the schema says so: maps in it are matched by their merge key, scalars are
united. Directives inside the patch say what its shape cannot:

    $patch: replace | delete | merge      this map, or this item of a list
    $retainKeys: [...]                    only these keys of the map stay
    $setElementOrder/<list>: [...]        the order of the merged list
    $deleteFromPrimitiveList/<list>: [..] scalars to take out of a list
"""

from collections.abc import Iterable
from typing import Any

from kybern.api.errors import BadRequest
from kybern.api.go_messages import go_text
from kybern.api.schema import Node

PATCH = "$patch"
RETAIN_KEYS = "$retainKeys"
ORDER = "$setElementOrder/"
DELETE_FROM = "$deleteFromPrimitiveList/"

Map = dict[str, Any]


def apply_strategic_patch(document: Map, patch: Any, schema: Node) -> Map:
    """The patched document. BadRequest where the patch is malformed."""
    if not isinstance(patch, dict):
        raise BadRequest("json: cannot unmarshal array into Go value of type map[string]interface {}")
    return _merged_map(document, patch, schema, not says_how(patch))


def says_how(value: Any) -> bool:
    """Whether anything in a patch says how it is to be merged, or takes something away. Most say neither: what they have
    and the document has not is then taken as it is."""
    if type(value) is list:
        return any(says_how(item) for item in value if type(item) is dict or type(item) is list)
    for key, item in value.items():
        kind = type(item)
        if item is None or key.startswith("$") or ((kind is dict or kind is list) and says_how(item)):
            return True
    return False


def _merged_map(original: Map, patch: Map, node: Node, plain: bool) -> Map:
    if plain and not original:
        return patch
    directive = patch.get(PATCH)
    if directive == "delete":
        return {}
    if directive == "replace":
        return _merged_map({}, {key: value for key, value in patch.items() if key != PATCH}, node, plain)
    if directive not in (None, "merge"):
        raise BadRequest(f"unknown patch type {directive} in map")
    found = _retained(original, patch)
    for key, value in patch.items():
        if key.startswith(DELETE_FROM):
            _delete_scalars(found, key.removeprefix(DELETE_FROM), value)
    for key, value in patch.items():
        if key in (PATCH, RETAIN_KEYS) or key.startswith((ORDER, DELETE_FROM)):
            continue
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value if plain and key not in found else _merged(found.get(key), value, node.child(key), plain)
    for key, value in patch.items():
        if key.startswith(ORDER):
            _set_order(found, original, key.removeprefix(ORDER), value, node, patch)
    return found


def _retained(original: Map, patch: Map) -> Map:
    """The original without the keys that `$retainKeys` leaves out."""
    kept = patch.get(RETAIN_KEYS)
    if kept is None:
        return dict(original)
    given = (key for key, value in patch.items() if value is not None and not key.startswith("$"))
    if not isinstance(kept, list) or not set(given) <= set(_scalars(kept)):
        raise BadRequest("invalid patch format of retainKeys")
    return {key: value for key, value in original.items() if key in kept}


def _scalars(items: Iterable[Any]) -> list[Any]:
    found = list(items)
    if any(isinstance(item, dict | list) for item in found):
        raise BadRequest("invalid patch format of primitive list")
    return found


def _merged(original: Any, patch: Any, node: Node, plain: bool) -> Any:
    if isinstance(patch, dict):
        keep = isinstance(original, dict) and not node.replaces
        return _merged_map(original if keep else {}, patch, node, plain)
    if isinstance(patch, list):
        keep = isinstance(original, list) and node.merges_list
        return _merged_list(original if keep else [], patch, node, plain)
    return patch


# --- lists ------------------------------------------------------------------------------------------------------------


def _merged_list(original: list[Any], patch: list[Any], node: Node, plain: bool) -> list[Any]:
    key = node.shape.merge_key
    if not node.merges_list:
        return patch if plain else [_merged(None, item, node.item, plain) for item in patch if not _is_directive(item)]
    if key is None or not any(isinstance(item, dict) for item in patch):
        united = list(dict.fromkeys(_scalars([*original, *patch])))
        return _ordered(united, patch, original, None)
    kept, wanted = _without_special_items(original, patch, key)
    found = list(kept)
    places = _places(found, key)
    for item in wanted:
        who = _identity(item, key)
        at = places.get(who)
        if at is None:
            places[who] = len(found)
            found.append(_merged_map({}, item, node.item, plain))
        else:
            found[at] = _merged_map(found[at], item, node.item, plain)
    return _ordered(found, wanted, original, key)


def _is_directive(item: Any) -> bool:
    """An item that says only how the list merges."""
    return isinstance(item, dict) and (item.get(PATCH) == "delete" or item.keys() == {PATCH})


def _without_special_items(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Map]]:
    """What of the original stays, and what of the patch is to be merged into it."""
    wanted: list[Map] = []
    gone, replace = set(), False
    for item in patch:
        if not isinstance(item, dict):
            raise BadRequest("invalid patch format of list: items of different types")
        directive = item.get(PATCH)
        if directive not in (None, "merge", "replace", "delete"):
            raise BadRequest(f"unknown patch type {directive} in list")
        replace = replace or directive == "replace"
        if directive == "replace" and len(item) == 1:
            continue
        if item.get(key) is None:
            raise BadRequest(f"map: {go_text(item)} does not contain declared merge key: {key}")
        if directive == "delete":
            gone.add(_identity(item, key))
        else:
            wanted.append({name: value for name, value in item.items() if name != PATCH})
    return [] if replace else [item for item in original if _identity(item, key) not in gone], wanted


def _identity(item: Any, key: str | None) -> Any:
    """What tells the items of a merging list apart; hashable."""
    value = item.get(key) if type(item) is dict and key is not None else item
    kind = type(value)
    return repr(value) if kind is dict or kind is list else value


def _places(items: list[Any], key: str | None) -> dict[Any, int]:
    """The first place of each item."""
    found: dict[Any, int] = {}
    for at, item in enumerate(items):
        found.setdefault(_identity(item, key), at)
    return found


def _delete_scalars(found: Map, name: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise BadRequest("invalid patch format of deleteFromPrimitiveList")
    if isinstance(found.get(name), list):
        taken = {_identity(item, None) for item in gone}
        found[name] = [item for item in found[name] if _identity(item, None) not in taken]


# --- order ------------------------------------------------------------------------------------------------------------


def _set_order(found: Map, original: Map, name: str, order: Any, node: Node, patch: Map) -> None:
    if not isinstance(order, list):
        raise BadRequest("invalid patch format of setElementOrder list")
    key = node.child(name).shape.merge_key
    if key is not None and not all(isinstance(item, dict) and key in item for item in order):
        raise BadRequest("invalid patch format of setElementOrder list")
    _check_order(patch.get(name), order, key)
    before = original.get(name)
    if isinstance(found.get(name), list):
        found[name] = _ordered(found[name], order, before if isinstance(before, list) else [], key)


def _check_order(patch: Any, order: list[Any], key: str | None) -> None:
    """Everything that the patch adds or changes has a place in the order."""
    if not isinstance(patch, list):
        return
    places = _places(order, key)
    given = [item for item in patch if not (isinstance(item, dict) and PATCH in item)]
    if any(_identity(item, key) not in places for item in given):
        raise BadRequest("The order in patch list doesn't match the $setElementOrder list")


def _ordered(items: list[Any], patch_order: list[Any], server_order: list[Any], key: str | None) -> list[Any]:
    """Items that the patch names in its order; the server's own between them where it had them.

    As upstream: two items that the server does not both know are not comparable, and then the patch's comes first.
    """
    wanted, before = _places(patch_order, key), _places(server_order, key)
    named: list[tuple[Any, Any]] = []
    own: list[tuple[Any, Any]] = []
    for item in items:
        who = _identity(item, key)
        (named if who in wanted else own).append((who, item))
    named.sort(key=lambda one: wanted[one[0]])
    own.sort(key=lambda one: before.get(one[0], len(server_order)))
    found: list[Any] = []
    at = 0
    for who, item in named:
        right = before.get(who)
        while at < len(own) and right is not None and before.get(own[at][0], right) < right:
            found.append(own[at][1])
            at += 1
        found.append(item)
    return found + [item for _, item in own[at:]]
