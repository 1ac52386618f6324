"""A checked tree to Python closures, one for each node, each calling those beneath it.

`compiled(node)` gives the closure and what it always costs. The cost travels up to where it is known whether the node is
evaluated at all (the root, a branch, a turn of a loop) and is charged there at once, so that most steps count nothing.
What depends on sizes is charged by the call itself.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kybern.cel import calls, loops, syntax
from kybern.cel.access import (
    UNSET,
    as_optional,
    at_slot,
    constant,
    lazy,
    mapped,
    put,
    selected,
    selected_optionally,
    tested,
    variable,
)
from kybern.cel.errors import EvaluationError, no_such_overload
from kybern.cel.folding import NOT_CONSTANT, Folding
from kybern.cel.frame import Frame, Run
from kybern.cel.types import DYNAMIC, SIZED, Field, Type

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
OF_ANY_SIZE = (*SIZED, "object", "opaque", *DYNAMIC)

Part = tuple[Run, int]


class Built(dict[Any, Any]):
    """An object that an expression built by its type's name, which it still knows."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Compiler:
    def __init__(self) -> None:
        self.scopes: list[dict[str, Run]] = []
        self.slots = 0
        self.folding = Folding()

    def slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def compiled(self, node: syntax.Node) -> Part:
        value = self.folding.value(node)
        if value is not NOT_CONSTANT:
            return constant(value), 0
        return COMPILES[type(node)](self, node)

    # --- names ---

    def ident(self, node: syntax.Ident) -> Part:
        for scope in reversed(self.scopes):
            if node.name in scope:
                return scope[node.name], 1
        return variable(node.name), 1

    def select(self, node: syntax.Select) -> Part:
        if node.mode == "variable":
            return variable(node.key), 1
        operand, cost = self.compiled(node.operand)
        make = {"": selected, "optional": selected_optionally, "test": tested}[node.mode]
        return make(operand, node.key), cost + (node.mode == "")

    # --- calls ---

    def call(self, node: syntax.Call) -> Part:
        special = SPECIAL.get(node.function)
        if special is not None:
            return special(self, node)
        parts = [self.compiled(arg) for arg in node.args]
        runs, cost = [run for run, _ in parts], sum(cost for _, cost in parts)
        if node.function in ("_[_]", "_[?_]") and is_attribute(node.args[1]):
            cost -= parts[1][1]  # a key that is only looked up counts as a part of the way
        if node.function == "@in" and is_enumeration(self.folding.value(node.args[1])):
            return calls.enumerated(runs[0], self.folding.value(node.args[1])), cost
        if node.function in ("_==_", "_!=_") and any(arg.type.kind not in OF_ANY_SIZE for arg in node.args):
            return calls.compared(runs[0], runs[1], node.function == "_==_"), cost + 1
        overload = node.overloads[0]
        if len(node.overloads) > 1 or not all(map(settled, node.args, overload.params)):
            return calls.dispatched(node.overloads, runs), cost
        if overload.works or overload.cost.actual is not None:
            return calls.charged(overload, runs), cost
        return calls.plain(overload.call, runs), cost + overload.cost.fixed

    def conditional(self, node: syntax.Call) -> Part:
        (test, cost), (yes, yes_cost), (no, no_cost) = map(self.compiled, node.args)

        def run(frame: Frame) -> Any:
            found = test(frame)
            if found is True:
                frame.spend(yes_cost)
                return yes(frame)
            if found is False:
                frame.spend(no_cost)
                return no(frame)
            raise no_such_overload()

        return run, cost

    def both(self, node: syntax.Call) -> Part:
        return self.decided(node, False)

    def either(self, node: syntax.Call) -> Part:
        return self.decided(node, True)

    def decided(self, node: syntax.Call, decisive: bool) -> Part:
        """`&&` and `||`: one decisive side is enough, whatever becomes of the other."""
        (left, cost), (right, right_cost) = map(self.compiled, node.args)

        def run(frame: Frame) -> Any:
            error: EvaluationError | None = None
            try:
                found = left(frame)
                if found is decisive:
                    return decisive
                if found is not (not decisive):
                    error = no_such_overload()
            except EvaluationError as raised:
                error = raised
            frame.spend(right_cost)
            found = right(frame)
            if found is decisive:
                return decisive
            if error is not None:
                raise error
            if found is not (not decisive):
                raise no_such_overload()
            return found

        return run, cost

    def alternative(self, node: syntax.Call) -> Part:
        """`or` and `orValue` of an optional: the other is only worked out where there is no value."""
        (optional, cost), (other, other_cost) = map(self.compiled, node.args)
        is_value = node.function == "orValue"

        def run(frame: Frame) -> Any:
            found = as_optional(optional(frame))
            if found.present:
                return found.value if is_value else found
            frame.spend(other_cost)
            return other(frame) if is_value else as_optional(other(frame))

        return run, cost

    # --- what is built ---

    def list(self, node: syntax.ListNode) -> Part:
        parts = [self.compiled(item) for item in node.items]
        runs, cost = [run for run, _ in parts], sum(cost for _, cost in parts) + LIST_COST
        if not node.optional:
            return (lambda frame: [run(frame) for run in runs]), cost
        optional = node.optional

        def run(frame: Frame) -> Any:
            found = []
            for index, item in enumerate(runs):
                value = item(frame)
                if index not in optional:
                    found.append(value)
                elif as_optional(value).present:
                    found.append(value.value)
            return found

        return run, cost

    def map(self, node: syntax.MapNode) -> Part:
        keys = [self.compiled(key) for key, _, _ in node.entries]
        values = [self.compiled(value) for _, value, _ in node.entries]
        entries = [
            (key, value, node.entries[i][2]) for i, ((key, _), (value, _)) in enumerate(zip(keys, values, strict=True))
        ]
        cost = sum(cost for _, cost in (*keys, *values)) + MAP_COST

        def run(frame: Frame) -> Any:
            found: dict[Any, Any] = {}
            for key, value, optional in entries:
                put(found, key(frame), value(frame), optional)
            return found

        return run, cost

    def struct(self, node: syntax.StructNode) -> Part:
        fields = [(name, self.compiled(value), optional) for name, value, optional, _ in node.fields]
        known: Mapping[str, Field] = node.type.fields()  # type: ignore[attr-defined]
        entries = [(known[name].key, run, optional) for name, (run, _), optional in fields]
        type_name = node.name

        def run(frame: Frame) -> Any:
            found = Built(type_name)
            for key, value, optional in entries:
                put(found, key, value(frame), optional)
            return found

        return run, sum(cost for _, (_, cost), _ in fields) + STRUCT_COST

    # --- macros ---

    def comprehension(self, node: syntax.Comprehension) -> Part:
        range_, cost = self.compiled(node.range)
        slots = tuple(self.slot() for _ in node.names)
        self.scopes.append({name: at_slot(slot) for name, slot in zip(node.names, slots, strict=True)})
        predicate = self.compiled(node.predicate) if node.predicate is not None else None
        transform = self.compiled(node.transform) if node.transform is not None else None
        self.scopes.pop()
        run, own_cost = loops.loop(node.kind, range_, slots, predicate, transform)
        return run, cost + own_cost

    def bind(self, node: syntax.Bind) -> Part:
        value, cost = self.compiled(node.value)
        slot = self.slot()
        if node.optional:
            self.scopes.append({node.name: at_slot(slot)})
            body, body_cost = self.compiled(node.body)
            self.scopes.pop()
            there = cost + body_cost + (2 if node.optional == "optMap" else 1)  # the value is asked for anew
            return mapped(value, slot, body, there, node.optional), cost + 1
        self.scopes.append({node.name: lazy(slot, value, cost)})
        body, body_cost = self.compiled(node.body)
        self.scopes.pop()

        def run(frame: Frame) -> Any:
            frame.slots[slot] = UNSET
            return body(frame)

        return run, body_cost


COMPILES: Mapping[type[syntax.Node], Callable[..., Part]] = {
    syntax.Ident: Compiler.ident,
    syntax.Select: Compiler.select,
    syntax.Call: Compiler.call,
    syntax.ListNode: Compiler.list,
    syntax.MapNode: Compiler.map,
    syntax.StructNode: Compiler.struct,
    syntax.Comprehension: Compiler.comprehension,
    syntax.Bind: Compiler.bind,
}
SPECIAL: Mapping[str, Callable[[Compiler, syntax.Call], Part]] = {
    "_?_:_": Compiler.conditional,
    "_&&_": Compiler.both,
    "_||_": Compiler.either,
    "or": Compiler.alternative,
    "orValue": Compiler.alternative,
}


def is_attribute(node: syntax.Node) -> bool:
    if isinstance(node, syntax.Call):
        return node.function == "_[_]"
    return isinstance(node, syntax.Ident) or (isinstance(node, syntax.Select) and node.mode != "test")


def is_enumeration(value: Any) -> bool:
    """Whether it is a list of texts, say, or of numbers, in which something is found at once."""
    return (
        isinstance(value, list)
        and bool(value)
        and len(kinds := set(map(type, value))) == 1
        and kinds <= {str, int, bool}
    )


def settled(arg: syntax.Node, param: Type) -> bool:
    """Whether the argument's type is known to be right before it runs."""
    return param.kind in ("dyn", "param") or arg.type.kind not in DYNAMIC
