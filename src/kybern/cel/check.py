"""Types: every node gets one, and every problem is told, not only the first.

Where something is wrong the node's type becomes an error, which fits everything, so that one mistake is told once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from kybern.cel import syntax
from kybern.cel.errors import Problem
from kybern.cel.functions import Overload
from kybern.cel.literals import argument_problems, compiling, format_problems, unusable_pattern
from kybern.cel.substitution import Substitution
from kybern.cel.syntax import qualified_name
from kybern.cel.types import (
    BOOL,
    DYN,
    ERROR,
    INT,
    ObjectType,
    Type,
    is_optional,
    joined,
    list_of,
    map_of,
    opaque,
    optional_of,
    type_of,
)
from kybern.cel.values import TYPES, TypeValue, type_of_value

TYPE_NAMES: Mapping[str, Type] = {
    **{name: type_ for name, type_ in TYPES.items() if name not in ("null", "timestamp", "duration", "type")},
    "null_type": TYPES["null"],
    "type": TYPES["type"],
    "google.protobuf.Timestamp": TYPES["timestamp"],
    "google.protobuf.Duration": TYPES["duration"],
    "optional_type": optional_of(DYN),
    "net.IP": opaque("net.IP"),
    "net.CIDR": opaque("net.CIDR"),
}
JOINS = {"all": "_&&_", "exists": "_||_"}


class Checker:
    def __init__(
        self,
        variables: Mapping[str, Type],
        functions: Mapping[tuple[str, bool], tuple[Overload, ...]],
        structs: Callable[[str], ObjectType | None],
    ) -> None:
        self.variables = variables
        self.functions = functions
        self.structs = structs
        self.problems: list[Problem] = []
        self.known = Substitution()
        self.scopes: list[dict[str, Type]] = []
        self.seen: list[syntax.Node] = []
        self.unusable = ""
        """What is wrong with a pattern that the program would be made with."""
        self.mixed = 0
        """How many calls around this place let a list be of several types."""

    def check(self, root: syntax.Node) -> None:
        self.visit(root)
        for node in self.seen:
            node.type = self.known.resolve(node.type, DYN)

    def wrong(self, at: int, message: str) -> Type:
        self.problems.append(Problem(message, at))
        return ERROR

    def visit(self, node: syntax.Node) -> Type:
        node.type = VISITS[type(node)](self, node)
        self.seen.append(node)
        return node.type

    def seen_as(self, type_: Type) -> Type:
        return self.known.resolve(type_)

    # --- names ---

    def declared(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.variables.get(name)

    @contextmanager
    def scope(self, names: Mapping[str, Type]) -> Iterator[None]:
        self.scopes.append(dict(names))
        try:
            yield
        finally:
            self.scopes.pop()

    def literal(self, node: syntax.Literal) -> Type:
        return type_of_value(node.value)

    def ident(self, node: syntax.Ident) -> Type:
        found = self.declared(node.name)
        if found is None and node.name in TYPE_NAMES:
            node.constant = TypeValue(node.name)
            return type_of(TYPE_NAMES[node.name])
        return found or self.undeclared(node.at, node.name)

    def undeclared(self, at: int, name: str) -> Type:
        return self.wrong(at, f"undeclared reference to '{name}' (in container '')")

    def select(self, node: syntax.Select) -> Type:
        name = qualified_name(node)
        if name in self.variables and not any(name.split(".")[0] in scope for scope in self.scopes):
            node.mode, node.key = "variable", name
            return self.variables[name]
        if name in TYPE_NAMES and self.declared(name.split(".")[0]) is None:
            node.constant = TypeValue(name)
            return type_of(TYPE_NAMES[name])
        operand = self.seen_as(self.visit(node.operand))
        inner = self.seen_as(operand.params[0]) if is_optional(operand) else operand
        found = self.field(node, inner)
        if node.mode == "test":
            return BOOL
        if node.mode == "optional" or is_optional(operand):
            return found if is_optional(found) else optional_of(found)
        return found

    def field(self, node: syntax.Select, operand: Type) -> Type:
        if isinstance(operand, ObjectType):
            field = operand.fields().get(node.field)
            if field is None:
                return self.wrong(node.at, f"undefined field '{node.field}'")
            node.key = field.key
            return field.type
        match operand.kind:
            case "map":
                return operand.params[1]
            case "dyn" | "error" | "param":
                return DYN
        return self.wrong(node.at, f"type '{operand}' does not support field selection")

    # --- calls ---

    def call(self, node: syntax.Call) -> Type:
        if node.member:
            name = f"{qualified_name(node.args[0])}.{node.function}"
            if (name, False) in self.functions and self.declared(name.split(".")[0]) is None:
                node.function, node.args, node.member = name, node.args[1:], False
        self.mixed += node.function == "format"
        args = [self.visit(arg) for arg in node.args]
        self.mixed -= node.function == "format"
        overloads = self.functions.get((node.function, node.member))
        if overloads is None:
            if any((node.function, flag) in self.functions for flag in (True, False)):
                return self.unmatched(node, args)
            return self.undeclared(node.at, node.function)
        self.known.step(compiling(node))
        self.problems += argument_problems(node)
        self.unusable = self.unusable or unusable_pattern(node)
        result = self.resolved(node, args, overloads)
        if node.function == "format" and node.member and node.overloads:
            self.problems += format_problems(node, self.seen_as)
        return result

    def resolved(self, node: syntax.Call, args: list[Type], overloads: tuple[Overload, ...]) -> Type:
        """The result of the overloads that fit. Where several do, nothing is learnt about types that are still open."""
        result: Type | None = None
        learnt: Mapping[str, Type] = {}
        mark = self.known.mark()
        for overload in overloads:
            if len(overload.params) != len(args):
                continue
            params, returned = self.known.signature(overload)
            if all(map(self.known.assignable, params, args)):
                node.overloads.append(overload)
                returned = self.known.resolve(returned)
                result = returned if result is None or result == returned else DYN
                learnt = self.known.since(mark)
            self.known.undo(mark)
        if len(node.overloads) == 1:
            self.known.learn(learnt)
        return result or self.unmatched(node, args)

    def unmatched(self, node: syntax.Call, args: list[Type]) -> Type:
        types = [self.known.resolve(arg, DYN) for arg in args]
        signature = f"{types[0]}.({joined(types[1:])})" if node.member else f"({joined(types)})"
        return self.wrong(node.at, f"found no matching overload for '{node.function}' applied to '{signature}'")

    # --- what is built ---

    def common(self, items: list[tuple[syntax.Node, bool]]) -> Type:
        """The one type of all the items; of those that are optional, what they hold."""
        found: Type | None = None
        for item, optional in items:
            type_ = self.seen_as(self.visit(item))
            if optional:
                type_ = self.held(item, type_)
            if found is None:
                found = type_
            elif self.mixed and not self.known.assignable(found, type_):
                found = DYN
            elif not self.known.assignable(found, type_):
                told = f"expected type '{self.known.resolve(found, DYN)}' but found '{self.known.resolve(type_, DYN)}'"
                self.wrong(item.at, told)
            elif type_.kind == "dyn":
                found = DYN
        return found or self.known.fresh()

    def held(self, item: syntax.Node, type_: Type) -> Type:
        if is_optional(type_):
            return type_.params[0]
        if type_.kind in ("dyn", "error"):
            return DYN
        return self.wrong(item.at, f"expected type 'optional_type({type_})' but found '{type_}'")

    def list(self, node: syntax.ListNode) -> Type:
        items = [(item, index in node.optional) for index, item in enumerate(node.items)]
        return list_of(self.common(items), len(items))

    def map(self, node: syntax.MapNode) -> Type:
        key = self.common([(key, False) for key, _, _ in node.entries])
        value = self.common([(value, optional) for _, value, optional in node.entries])
        return map_of(key, value, len(node.entries))

    def struct(self, node: syntax.StructNode) -> Type:
        found = self.structs(node.name)
        if found is None:
            for _, value, _, _ in node.fields:
                self.visit(value)
            return self.undeclared(node.at, node.name)
        for name, value, optional, at in node.fields:
            given, field = self.visit(value), found.fields().get(name)
            if field is None:
                self.wrong(at, f"undefined field '{name}'")
            elif not self.known.assignable(optional_of(field.type) if optional else field.type, given):
                provided = self.known.resolve(given, DYN)
                self.wrong(at, f"expected type of field '{name}' is '{field.type}' but provided type is '{provided}'")
        return found

    # --- macros ---

    def comprehension(self, node: syntax.Comprehension) -> Type:
        range_ = self.seen_as(self.visit(node.range))
        names = self.loop_names(node, range_)
        with self.scope(names):
            predicate = self.visit(node.predicate) if node.predicate is not None else BOOL
            transformed = self.visit(node.transform) if node.transform is not None else DYN
        result = self.loop_result(node.kind, range_, transformed)
        if not self.known.assignable(BOOL, predicate):
            told = self.known.resolve(predicate, DYN)
            operator, applied = (
                "_?_:_",
                f"({told}, {self.known.resolve(result, DYN)}, {self.known.resolve(result, DYN)})",
            )
            if node.kind in JOINS:
                operator, applied = JOINS[node.kind], f"(bool, {told})"
            self.wrong(node.at, f"found no matching overload for '{operator}' applied to '{applied}'")
        return result

    def loop_names(self, node: syntax.Comprehension, range_: Type) -> Mapping[str, Type]:
        match range_.kind:
            case "list":
                types: tuple[Type, ...] = (INT, range_.params[0]) if len(node.names) == 2 else (range_.params[0],)
            case "map":
                types = range_.params if len(node.names) == 2 else range_.params[:1]
            case "dyn" | "error" | "param":
                types = (DYN, DYN)
            case _:
                why = "cannot be range of a comprehension (must be list, map, or dynamic)"
                self.wrong(node.range.at, f"expression of type '{range_}' {why}")
                types = (ERROR, ERROR)
        return dict(zip(node.names, types, strict=False))

    def loop_result(self, kind: str, range_: Type, transformed: Type) -> Type:
        item = range_.params[0] if range_.kind in ("list", "map") else DYN
        match kind:
            case "map" | "transformList":
                return list_of(transformed)
            case "filter":
                return list_of(item)
            case "transformMap":
                return map_of(INT if range_.kind == "list" else item, transformed)
            case "transformMapEntry":
                return self.seen_as(transformed) if transformed.kind == "map" else map_of(DYN, DYN)
        return BOOL

    def bind(self, node: syntax.Bind) -> Type:
        given = self.seen_as(self.visit(node.value))
        if node.optional:
            if given.kind not in ("dyn", "error") and not is_optional(given):
                told = f"found no matching overload for '{node.optional}' applied to '{given}.()'"
                return self.wrong(node.at, told)
            given = given.params[0] if given.params else DYN
        with self.scope({node.name: given}):
            result = self.visit(node.body)
        return optional_of(result) if node.optional == "optMap" else result


VISITS: Mapping[type[syntax.Node], Callable[..., Type]] = {
    syntax.Literal: Checker.literal,
    syntax.Ident: Checker.ident,
    syntax.Select: Checker.select,
    syntax.Call: Checker.call,
    syntax.ListNode: Checker.list,
    syntax.MapNode: Checker.map,
    syntax.StructNode: Checker.struct,
    syntax.Comprehension: Checker.comprehension,
    syntax.Bind: Checker.bind,
}
