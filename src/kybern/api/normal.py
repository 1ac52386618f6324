"""Values as this server writes them: times in UTC, quantities in canonical text, nulls, empty lists and maps not at all.

Two writers who mean the same must say the same, or every comparison would find a difference.
"""

from typing import Any

from kybern.api import times
from kybern.api.quantity import canonical
from kybern.api.schema import Node
from kybern.api.shape import Quantity

WRITTEN_EMPTY = {("Role", "rules"), ("ClusterRole", "rules"), ("EndpointSlice", "ports")}
"""Fields of structs that upstream writes although they are optional and empty."""


def is_left_out(parent: Node, key: str, child: Node) -> bool:
    """Whether a list or map says the same when it is empty and when it is not there. In a custom kind it does not."""
    if child.always or child.form not in ("list", "map") or parent.struct is None:
        return False
    if child.form == "map" and child.item.form == "any":
        return False  # a struct without fields, `subresources.status` say: that it is there is what it says
    return (parent.struct.__name__, key) not in WRITTEN_EMPTY


def _is_nothing(parent: Node, child: Node, item: Any) -> bool:
    """A key of a map with null. A struct's null is its type's to judge, and what has no schema keeps all it has."""
    return item is None and parent.form == "map" and child.form != "any" and not parent.keeps_null


def normal(node: Node, value: Any) -> Any:
    """ValueError, in upstream's words, for a time or a quantity that is none."""
    if isinstance(value, dict) and node.form in ("struct", "map"):
        children = ((key, node.child(key), item) for key, item in value.items())
        found = (
            (key, child, normal(child, item)) for key, child, item in children if not _is_nothing(node, child, item)
        )
        return {key: item for key, child, item in found if item not in ({}, []) or not is_left_out(node, key, child)}
    if isinstance(value, list) and node.form == "list":
        return [normal(node.item, item) for item in value]
    if node.time and isinstance(value, str):
        return times.normal(value, node.time == "micro")
    if node.scalar is Quantity and value is not None:
        return str(canonical(value))
    return value
