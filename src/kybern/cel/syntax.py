"""An expression as a tree. Macros are kinds of node here, not calls: a loop is a loop.

The checker writes each node's type, and for calls the overloads that fit, onto the nodes; nothing else changes them.
"""

from typing import Any

from kybern.cel.types import DYN, Type


class Node:
    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: Type = DYN


class Literal(Node):
    __slots__ = ("value",)

    def __init__(self, at: int, value: Any) -> None:
        super().__init__(at)
        self.value = value


class Ident(Node):
    __slots__ = ("constant", "name")

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name
        self.constant: Any = None
        """The type that this is the name of, where it is one."""


class Select(Node):
    """`operand.field`; optional: `operand.?field`; test: `has(operand.field)`; variable: one whose name has a dot."""

    __slots__ = ("constant", "field", "key", "mode", "operand")

    def __init__(self, at: int, operand: Node, field: str, mode: str = "") -> None:
        super().__init__(at)
        self.constant: Any = None
        self.operand = operand
        self.field = field
        self.key = field
        self.mode = mode


class Call(Node):
    """`target.function(args)` or `function(args)`; operators are functions too."""

    __slots__ = ("args", "function", "member", "overloads")

    def __init__(self, at: int, function: str, args: list[Node], *, member: bool = False) -> None:
        super().__init__(at)
        self.function = function
        self.args = args
        """The target first, where there is one."""
        self.member = member
        self.overloads: list[Any] = []


class ListNode(Node):
    __slots__ = ("items", "optional")

    def __init__(self, at: int, items: list[Node], optional: set[int]) -> None:
        super().__init__(at)
        self.items = items
        self.optional = optional
        """Which of them are `?item`: there only when the optional has a value."""


class MapNode(Node):
    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[tuple[Node, Node, bool]]) -> None:
        super().__init__(at)
        self.entries = entries


class StructNode(Node):
    __slots__ = ("fields", "name")

    def __init__(self, at: int, name: str, fields: list[tuple[str, Node, bool, int]]) -> None:
        super().__init__(at)
        self.name = name
        self.fields = fields


class Comprehension(Node):
    """all, exists, exists_one, map, filter, transformList, transformMap, transformMapEntry."""

    __slots__ = ("kind", "names", "predicate", "range", "transform")

    def __init__(
        self, at: int, kind: str, names: tuple[str, ...], range_: Node, predicate: Node | None, transform: Node | None
    ) -> None:
        super().__init__(at)
        self.kind = kind
        self.names = names
        self.range = range_
        self.predicate = predicate
        self.transform = transform


class Bind(Node):
    """A name for a value within an expression; with `optional`, `value.optMap(name, body)` and `optFlatMap`."""

    __slots__ = ("body", "name", "optional", "value")

    def __init__(self, at: int, name: str, value: Node, body: Node, optional: str = "") -> None:
        super().__init__(at)
        self.name = name
        self.value = value
        self.body = body
        self.optional = optional


def qualified_name(node: Node) -> str:
    """`a.b.c`, where the node is such a chain of names; empty where it is anything else."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.mode:
        inner = qualified_name(node.operand)
        return f"{inner}.{node.field}" if inner else ""
    return ""
