"""The least and the most that an expression can cost, reckoned before it ever runs, as upstream reckons it.

A size comes from what is written (a literal), from a type's bound (`maxLength` in a schema), or is unknown, and then as
large as can be. So a loop over a list without a bound is very dear: it is its author who can tell how long it may be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kybern.cel import syntax
from kybern.cel.costs import UNKNOWN, Span, exactly
from kybern.cel.loops import SKIPPED_COST, START_COST, TAKEN_COST, TURN_COST
from kybern.cel.types import DYNAMIC, SIZED, Type, is_optional
from kybern.cel.values import size_of

ZERO = exactly(0)


@dataclass(frozen=True, slots=True)
class Estimate:
    cost: Span
    size: Span
    key: Span = UNKNOWN
    value: Span = UNKNOWN
    """Sizes of what it holds, where it is a list or a map."""


def size_by_type(type_: Type) -> Span:
    if type_.kind in SIZED:
        return Span(0, type_.size_max)
    return UNKNOWN if type_.kind in DYNAMIC or is_optional(type_) else exactly(1)


def estimated(node: syntax.Node, scope: Mapping[str, Estimate] | None = None) -> Estimate:
    return ESTIMATES[type(node)](node, scope or {})


def by_type(type_: Type, cost: Span) -> Estimate:
    """As large as its type lets it be."""
    key = value = UNKNOWN
    if type_.kind == "list":
        key, value = exactly(1), size_by_type(type_.params[0])
    elif type_.kind == "map":
        key, value = size_by_type(type_.params[0]), size_by_type(type_.params[1])
    return Estimate(cost, size_by_type(type_), key, value)


def of_literal(node: syntax.Literal, scope: Mapping[str, Estimate]) -> Estimate:
    return Estimate(ZERO, exactly(size_of(node.value)))


def of_ident(node: syntax.Ident, scope: Mapping[str, Estimate]) -> Estimate:
    found = scope.get(node.name)
    if found is not None:
        return Estimate(exactly(1), found.size, found.key, found.value)
    return by_type(node.type, exactly(1))


def of_select(node: syntax.Select, scope: Mapping[str, Estimate]) -> Estimate:
    if node.constant is not None:
        return Estimate(exactly(1), exactly(1))
    if node.mode == "variable":
        return by_type(node.type, exactly(1))
    operand = estimated(node.operand, scope)
    cost = operand.cost if node.mode == "test" else operand.cost.plus(exactly(1))
    return by_type(node.type, cost)


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
    if node.function in ("_[_]", "_[?_]"):
        size = args[0].value
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
        model = overload.cost
        one, result = model.estimate(sizes) if model.by_items is None else model.by_items(sizes, items)
        cost = one if cost is None else cost.union(one)
        if result is not None:
            size = result if size is None else size.union(result)
    return cost or exactly(1), size


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
    inner = {**scope, **loop_scope(node, range_)}
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


def loop_scope(node: syntax.Comprehension, range_: Estimate) -> dict[str, Estimate]:
    kind, params = node.range.type.kind, node.range.type.params
    if not params:
        return {name: Estimate(exactly(1), UNKNOWN) for name in node.names}
    first, last = (by_type(params[0], ZERO), by_type(params[-1], ZERO))
    key = Estimate(ZERO, exactly(1) if kind == "list" else range_.key)
    value = Estimate(ZERO, range_.value, last.key, last.value)
    if len(node.names) == 2:
        return {node.names[0]: key, node.names[1]: value}
    return {node.names[0]: Estimate(ZERO, range_.value, first.key, first.value) if kind == "list" else key}


def of_bind(node: syntax.Bind, scope: Mapping[str, Estimate]) -> Estimate:
    value = estimated(node.value, scope)
    bound = by_type(node.value.type.params[0], ZERO) if node.optional and node.value.type.params else value
    body = estimated(node.body, {**scope, node.name: bound})
    return Estimate(value.cost.plus(body.cost).plus(exactly(10)), body.size, body.key, body.value)


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
