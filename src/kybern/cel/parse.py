"""An expression's text to its tree, by climbing precedences. A macro becomes the node it stands for as soon as it is read.

Bounds, so that a hostile text is refused before it costs anything: its length, and how deep it nests.
"""

from collections.abc import Callable

from kybern.cel import macros
from kybern.cel.errors import CompileFailed, Problem
from kybern.cel.syntax import Call, Ident, ListNode, Literal, MapNode, Node, Select, StructNode, qualified_name
from kybern.cel.tokens import RESERVED, Token, Unreadable, bounded, tokens

EXPRESSION_LENGTH_MAX = 100_000
DEPTH_MAX = 250
TOO_DEEP = f"expression recursion limit exceeded: {DEPTH_MAX}"
PRIMARY = (
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}"
)
LEVELS: tuple[tuple[str, ...], ...] = (
    ("<", "<=", ">=", ">", "==", "!=", "in"),
    ("+", "-"),
    ("*", "/", "%"),
)


def parse(source: str) -> Node:
    if len(source) > EXPRESSION_LENGTH_MAX:
        told = f"expression code point size exceeds limit: size: {len(source)}, limit {EXPRESSION_LENGTH_MAX}"
        raise CompileFailed("", [Problem(told)])
    try:
        return Parser(tokens(source)).whole()
    except Unreadable as error:
        raise CompileFailed(source, [error.problem]) from None
    except RecursionError:
        raise CompileFailed("", [Problem(TOO_DEEP)]) from None


class Parser:
    def __init__(self, found: list[Token]) -> None:
        self.tokens = found
        self.position = 0
        self.depth = 0

    # --- the stream of tokens ---

    @property
    def next(self) -> Token:
        return self.tokens[self.position]

    def take(self) -> Token:
        found = self.tokens[self.position]
        self.position += 1
        return found

    def taken(self, kind: str) -> Token | None:
        found = self.tokens[self.position]
        if found.kind != kind:
            return None
        self.position += 1
        return found

    def expect(self, kind: str) -> Token:
        if self.next.kind != kind:
            raise self.wrong(f"'{kind}'" if kind != "<EOF>" else kind)
        return self.take()

    def wrong(self, expected: str) -> Unreadable:
        found = self.next
        return Unreadable(Problem(f"Syntax error: mismatched input '{found.text}' expecting {expected}", found.at))

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise Unreadable(Problem(TOO_DEEP, self.next.at))

    # --- the grammar ---

    def whole(self) -> Node:
        found = self.expression()
        self.expect("<EOF>")
        return found

    def expression(self) -> Node:
        self.deeper()
        condition = self.chain("||", self.conjunction)
        mark = self.taken("?")
        if mark is not None:
            yes = self.chain("||", self.conjunction)
            self.expect(":")
            condition = Call(mark.at, "_?_:_", [condition, yes, self.expression()])
        self.depth -= 1
        return condition

    def conjunction(self) -> Node:
        return self.chain("&&", self.relation)

    def chain(self, operator: str, operand: Callable[[], Node]) -> Node:
        """Long chains of and/or are balanced, so that they are not deep."""
        first = operand()
        if self.next.kind != operator:
            return first
        operands, marks = [first], []
        while (mark := self.taken(operator)) is not None:
            marks.append(mark.at)
            operands.append(operand())

        def balanced(low: int, high: int) -> Node:
            if low == high:
                return operands[low]
            middle = (low + high) // 2
            return Call(marks[middle], f"_{operator}_", [balanced(low, middle), balanced(middle + 1, high)])

        return balanced(0, len(operands) - 1)

    def relation(self, level: int = 0) -> Node:
        left = self.unary()
        for here in range(len(LEVELS) - 1, level - 1, -1):
            before = self.depth
            while self.next.kind in LEVELS[here]:
                mark = self.take()
                self.deeper()
                function = "@in" if mark.kind == "in" else f"_{mark.kind}_"
                left = Call(mark.at, function, [left, self.relation(here + 1)])
            self.depth = before
        return left

    def unary(self) -> Node:
        operator = self.next.kind
        if operator not in ("!", "-"):
            return self.member(self.primary())
        at, count = self.next.at, 0
        while self.taken(operator):
            count += 1
            self.deeper()
        if operator == "-" and count % 2 and self.next.kind == "literal" and type(self.next.value) in (int, float):
            literal = self.take()
            operand = self.member(Literal(at, bounded(-literal.value, at)))
        else:
            operand = self.unary() if self.next.kind in ("!", "-") else self.member(self.primary())
            if count % 2:
                operand = Call(at, "!_" if operator == "!" else "-_", [operand])
        self.depth -= count
        return operand

    def member(self, operand: Node) -> Node:
        before = self.depth
        while True:
            if (mark := self.taken(".")) is not None:
                self.deeper()
                optional = self.taken("?") is not None
                name = self.take() if self.next.kind in ("name", "quoted", "in") else None
                if name is None or name.kind == "in":
                    raise self.wrong("IDENTIFIER")
                if name.kind == "name" and not optional and self.next.kind == "(":
                    opening = self.take()
                    operand = self.called(opening.at, name.text, operand)
                else:
                    operand = Select(mark.at, operand, name.text, "optional" if optional else "")
            elif (mark := self.taken("[")) is not None:
                self.deeper()
                function = "_[?_]" if self.taken("?") else "_[_]"
                index = self.expression()
                self.expect("]")
                operand = Call(mark.at, function, [operand, index])
            elif self.next.kind == "{" and qualified_name(operand):
                operand = self.struct(self.take().at, qualified_name(operand))
            else:
                self.depth = before
                return operand

    def called(self, at: int, function: str, target: Node | None) -> Node:
        args = self.several(")")
        macro = macros.expand(at, function, target, args)
        if macro is not None:
            return macro
        return Call(at, function, args if target is None else [target, *args], member=target is not None)

    def several(self, closing: str) -> list[Node]:
        found: list[Node] = []
        while not self.taken(closing):
            if found:
                self.expect(",")
                if closing != ")" and self.taken(closing):
                    break
            found.append(self.expression())
        return found

    def primary(self) -> Node:
        token = self.next
        match token.kind:
            case "literal":
                self.take()
                return Literal(token.at, bounded(token.value, token.at))
            case "(":
                self.take()
                inner = self.expression()
                self.expect(")")
                return inner
            case "[":
                return self.list(self.take().at)
            case "{":
                return self.map(self.take().at)
            case "name" | ".":
                return self.name(token.at)
        raise self.wrong(PRIMARY)

    def name(self, at: int) -> Node:
        self.taken(".")
        token = self.next
        if token.kind != "name":
            raise self.wrong("IDENTIFIER")
        self.take()
        if token.text in RESERVED:
            raise Unreadable(Problem(f"reserved identifier: {token.text}", at))
        if (opening := self.taken("(")) is not None:
            return self.called(opening.at, token.text, None)
        return Ident(at, token.text)

    def list(self, at: int) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while not self.taken("]"):
            if items:
                self.expect(",")
                if self.taken("]"):
                    break
            if self.taken("?"):
                optional.add(len(items))
            items.append(self.expression())
        return ListNode(at, items, optional)

    def map(self, at: int) -> Node:
        entries: list[tuple[Node, Node, bool]] = []
        while not self.taken("}"):
            if entries:
                self.expect(",")
                if self.taken("}"):
                    break
            optional = self.taken("?") is not None
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression(), optional))
        return MapNode(at, entries)

    def struct(self, at: int, name: str) -> Node:
        fields: list[tuple[str, Node, bool, int]] = []
        while not self.taken("}"):
            if fields:
                self.expect(",")
                if self.taken("}"):
                    break
            optional = self.taken("?") is not None
            field = self.take() if self.next.kind in ("name", "quoted") else None
            if field is None:
                raise self.wrong("IDENTIFIER")
            self.expect(":")
            fields.append((field.text, self.expression(), optional, field.at))
        return StructNode(at, name, fields)
