"""The least and the most that an expression can cost, reckoned before it ever runs, as upstream reckons it.

A size comes from what is written (a literal), from a type's bound (`maxLength` in a schema), or is unknown, and then as
large as can be. So a loop over a list without a bound is very dear: it is its author who can tell how long it may be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from kybern.cel import syntax
from kybern.cel.costs import UNKNOWN, Cost, Span, exactly
from kybern.cel.loops import TAKEN_COST, TURN_COST
from kybern.cel.types import UNBOUNDED, Type, is_optional
from kybern.cel.values import size_of

ZERO = exactly(0)
SKIPPED_COST = 1
START_COST = {
    "map": 11,
    "filter": 11,
    "transformList": 11,
    "transformMap": 31,
    "transformMapEntry": 31,
    "exists_one": 2,
}
SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))
ROOT = "@root"
"""In a scope, what the expression is about: see `loop_scope`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    cost: Span
    size: Span
    key: Span = UNKNOWN
    value: Span = UNKNOWN
    """Sizes of what it holds, where it is a list or a map."""
    is_part: bool = False
    """Whether it is a part of a variable, of which a schema tells."""


def size_by_type(type_: Type) -> Span:
    """What a schema says counts even where it says that a number has no size."""
    if type_.size_max != UNBOUNDED:
        return Span(0, type_.size_max)
    inner = type_.params[0] if is_optional(type_) else type_
    if inner.kind in SCALARS or (type_.kind == "opaque" and not is_optional(type_)):
        return exactly(1)
    return UNKNOWN


def estimated(node: syntax.Node, scope: Mapping[str, Estimate] | None = None) -> Estimate:
    return ESTIMATES[type(node)](node, scope or {})


def by_type(type_: Type, cost: Span, *, is_part: bool = False) -> Estimate:
    """As large as its type lets it be."""
    key = value = UNKNOWN
    if type_.kind == "list":
        key, value = exactly(1), size_by_type(type_.params[0])
    elif type_.kind == "map":
        key, value = size_by_type(type_.params[0]), size_by_type(type_.params[1])
    return Estimate(cost, size_by_type(type_), key, value, is_part)


def of_literal(node: syntax.Literal, scope: Mapping[str, Estimate]) -> Estimate:
    return Estimate(ZERO, exactly(size_of(node.value)))


def of_ident(node: syntax.Ident, scope: Mapping[str, Estimate]) -> Estimate:
    found = scope.get(node.name)
    if found is not None:
        return replace(found, cost=exactly(1))
    if node.constant is not None:
        return Estimate(exactly(1), ZERO)
    return by_type(node.type, exactly(1), is_part=True)


def of_select(node: syntax.Select, scope: Mapping[str, Estimate]) -> Estimate:
    if node.constant is not None:
        return Estimate(exactly(1), ZERO)
    if node.mode == "variable":
        return by_type(node.type, exactly(1), is_part=True)
    operand = estimated(node.operand, scope)
    cost = operand.cost if node.mode == "test" else operand.cost.plus(exactly(1))
    return by_type(node.type, cost, is_part=operand.is_part and node.mode == "")


def of_call(node: syntax.Call, scope: Mapping[str, Estimate]) -> Estimate:
    args = [estimated(arg, scope) for arg in node.args]
    costs = [arg.cost for arg in args]
    if node.function in ("_&&_", "_||_"):
        return Estimate(Span(costs[0].least, costs[0].plus(costs[1]).most), exactly(1))
    if node.function == "_?_:_":
        yes, no = args[1:]
        return Estimate(
            costs[0].plus(yes.cost.union(no.cost)),
            yes.size.union(no.size),
            yes.key.union(no.key),
            yes.value.union(no.value),
        )
    total = ZERO
    for cost in costs:
        total = total.plus(cost)
    own, size = call_cost(node, args)
    found = by_type(node.type, total.plus(own))
    if node.function == "_[_]":
        return replace(found, size=args[0].value, is_part=args[0].is_part)
    both = node.function == "_+_" and node.type.kind == "list"
    return Estimate(
        found.cost,
        size if size is not None else found.size,
        found.key,
        args[0].value.union(args[1].value) if both else found.value,
    )


def call_cost(node: syntax.Call, args: list[Estimate]) -> tuple[Span, Span | None]:
    """Over all overloads that it may turn out to be."""
    sizes, items = [arg.size for arg in args], [arg.value for arg in args]
    cost: Span | None = None
    size: Span | None = None
    for overload in node.overloads:
        one, result = by_model(overload.cost, node, sizes, items)
        cost = one if cost is None else cost.union(one)
        if result is not None:
            size = result if size is None else size.union(result)
    return cost or exactly(1), size


def by_model(model: Cost, node: syntax.Call, sizes: list[Span], items: list[Span]) -> tuple[Span, Span | None]:
    if model.by_literals is not None:
        return model.by_literals(sizes, [number_of(arg) for arg in node.args])
    return model.estimate(sizes) if model.by_items is None else model.by_items(sizes, items)


def number_of(node: syntax.Node) -> int | None:
    return node.value if isinstance(node, syntax.Literal) and type(node.value) is int else None


def all_of(nodes: list[syntax.Node], scope: Mapping[str, Estimate]) -> tuple[Span, Span]:
    """Their cost together, and the size that each has."""
    cost, size = ZERO, None
    for node in nodes:
        found = estimated(node, scope)
        cost = cost.plus(found.cost)
        size = found.size if size is None else size.union(found.size)
    return cost, size or ZERO


def of_list(node: syntax.ListNode, scope: Mapping[str, Estimate]) -> Estimate:
    cost, item = all_of(node.items, scope)
    count = len(node.items)
    return Estimate(cost.plus(exactly(10)), Span(count - len(node.optional), count), exactly(1), item)


def of_map(node: syntax.MapNode, scope: Mapping[str, Estimate]) -> Estimate:
    keys_cost, key = all_of([key for key, _, _ in node.entries], scope)
    values_cost, value = all_of([value for _, value, _ in node.entries], scope)
    return Estimate(keys_cost.plus(values_cost).plus(exactly(30)), exactly(len(node.entries)), key, value)


def of_struct(node: syntax.StructNode, scope: Mapping[str, Estimate]) -> Estimate:
    cost, _ = all_of([value for _, value, _, _ in node.fields], scope)
    return Estimate(cost.plus(exactly(40)), exactly(1))


def of_comprehension(node: syntax.Comprehension, scope: Mapping[str, Estimate]) -> Estimate:
    range_ = estimated(node.range, scope)
    inner = {**scope, **loop_scope(node, range_, scope)}
    test = estimated(node.predicate, inner).cost if node.predicate is not None else ZERO
    value = estimated(node.transform, inner) if node.transform is not None else Estimate(ZERO, UNKNOWN)
    if node.kind in TURN_COST:
        turn = test.plus(exactly(TURN_COST[node.kind]))
    else:
        taken = value.cost.plus(exactly(TAKEN_COST[node.kind]))
        turn = test.plus(taken if node.predicate is None else taken.union(exactly(SKIPPED_COST)))
    cost = range_.cost.plus(range_.size.times(turn)).plus(exactly(START_COST.get(node.kind, 1)))
    if node.kind in ("all", "exists", "exists_one"):
        return Estimate(cost, exactly(1))
    item = range_.value if node.kind == "filter" else value.size
    return Estimate(cost, range_.size, range_.key, item)


def loop_scope(node: syntax.Comprehension, range_: Estimate, scope: Mapping[str, Estimate]) -> dict[str, Estimate]:
    kind, params = node.range.type.kind, node.range.type.params
    if not params:
        return {name: Estimate(exactly(1), UNKNOWN) for name in node.names}
    last = by_type(params[-1], ZERO)
    key = Estimate(ZERO, exactly(1) if kind == "list" else range_.key)
    value = Estimate(ZERO, range_.value, last.key, last.value, range_.is_part)
    if not range_.is_part and ROOT in scope:
        # Upstream looks for the size of such an element where the expression's own subject is.
        key, value = replace(key, size=scope[ROOT].size), replace(value, size=scope[ROOT].size)
    if len(node.names) == 2:
        return {node.names[0]: key, node.names[1]: value}
    return {node.names[0]: value if kind == "list" else key}


def of_bind(node: syntax.Bind, scope: Mapping[str, Estimate]) -> Estimate:
    value = estimated(node.value, scope)
    bound = by_type(node.value.type.params[0], ZERO) if node.optional and node.value.type.params else value
    body = estimated(node.body, {**scope, node.name: bound})
    cost = value.cost.plus(body.cost).plus(exactly(10))
    if node.optional:
        # It is asked whether there is a value, and the value is asked for anew; else it is nothing.
        there = cost.plus(exactly(2 if node.optional == "optMap" else 1))
        cost = value.cost.plus(exactly(1)).plus(there.union(exactly(1)))
    return Estimate(cost, body.size, body.key, body.value)


ESTIMATES: Mapping[type[syntax.Node], Callable[..., Estimate]] = {
    syntax.Literal: of_literal,
    syntax.Ident: of_ident,
    syntax.Select: of_select,
    syntax.Call: of_call,
    syntax.ListNode: of_list,
    syntax.MapNode: of_map,
    syntax.StructNode: of_struct,
    syntax.Comprehension: of_comprehension,
    syntax.Bind: of_bind,
}
