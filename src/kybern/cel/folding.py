"""What an expression says outright: literals, lists and maps of them, and such as are converted. It costs nothing to evaluate.

Upstream folds the same, and counts nothing for what it has folded; nothing that stands here may be changed by anybody.
"""

from typing import Any

from kybern.cel import syntax
from kybern.cel.access import put
from kybern.cel.errors import EvaluationError

NOT_CONSTANT = object()
CONVERSIONS = frozenset(("bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "uint"))


class Folding:
    def __init__(self) -> None:
        self.found: dict[int, Any] = {}
        """By the identity of nodes: each is looked at once."""

    def value(self, node: syntax.Node) -> Any:
        """NOT_CONSTANT where it depends on anything."""
        key = id(node)
        if key not in self.found:
            self.found[key] = self.folded(node)
        return self.found[key]

    def folded(self, node: syntax.Node) -> Any:
        match node:
            case syntax.Literal():
                return node.value
            case syntax.Ident() | syntax.Select():
                return NOT_CONSTANT if node.constant is None else node.constant
            case syntax.ListNode() if not node.optional:
                return self.all(node.items)
            case syntax.MapNode() if not any(optional for _, _, optional in node.entries):
                return self.map(node)
            case syntax.Call() if node.function in CONVERSIONS and len(node.args) == len(node.overloads) == 1:
                return self.converted(node)
        return NOT_CONSTANT

    def all(self, nodes: list[syntax.Node]) -> Any:
        values = [self.value(node) for node in nodes]
        return NOT_CONSTANT if any(value is NOT_CONSTANT for value in values) else values

    def map(self, node: syntax.MapNode) -> Any:
        keys = self.all([key for key, _, _ in node.entries])
        values = self.all([value for _, value, _ in node.entries])
        if keys is NOT_CONSTANT or values is NOT_CONSTANT:
            return NOT_CONSTANT
        made: dict[Any, Any] = {}
        try:
            for key, value in zip(keys, values, strict=True):
                put(made, key, value, optional=False)
        except EvaluationError:
            return NOT_CONSTANT  # it is told when it is evaluated
        return made

    def converted(self, node: syntax.Call) -> Any:
        value = self.value(node.args[0])
        if value is NOT_CONSTANT:
            return NOT_CONSTANT
        try:
            return node.overloads[0].call(value)
        except EvaluationError:
            return NOT_CONSTANT
