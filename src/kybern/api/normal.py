"""Values as this server writes them: times in UTC, quantities in canonical text.

Two writers who mean the same must say the same, or every comparison would find a difference.
"""

from typing import Any

from kybern.api import times
from kybern.api.quantity import canonical
from kybern.api.schema import Node
from kybern.api.shape import Quantity


def normal(node: Node, value: Any) -> Any:
    """ValueError, in upstream's words, for a time or a quantity that is none."""
    if isinstance(value, dict) and node.form in ("struct", "map"):
        return {key: normal(node.child(key), item) for key, item in value.items()}
    if isinstance(value, list) and node.form == "list":
        return [normal(node.item, item) for item in value]
    if node.time and isinstance(value, str):
        return times.normal(value, node.time == "micro")
    if node.scalar is Quantity and value is not None:
        return str(canonical(value))
    return value
