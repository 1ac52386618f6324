"""What several loops ask of a node."""

from kybern.api.core_v1 import Node


def node_is_ready(node: Node) -> bool:
    return any(found.type == "Ready" and found.status == "True" for found in node.status.conditions or ())
