"""What stands in an expression outright is looked at when it is written: times, patterns, and templates with their values."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kybern.cel import syntax, times
from kybern.cel.errors import EvaluationError, Problem
from kybern.cel.libraries.format_text import Clause, pieces
from kybern.cel.patterns import compiled, effort
from kybern.cel.types import DYNAMIC, Type
from kybern.cel.values import TYPE_NAMES

PARSED: Mapping[tuple[str, type[object]], Callable[[Any], object]] = {
    ("duration", str): times.duration,
    ("timestamp", str): times.timestamp,
    ("timestamp", int): lambda seconds: times.bounded_timestamp(seconds * times.SECOND),
    ("matches", str): compiled,
}
SEARCHES = ("find", "findAll")
SeenAs = Callable[[Type], Type]


def argument_problems(node: syntax.Call) -> Iterator[Problem]:
    """Of the last argument, where it is parsed when the expression runs."""
    last = node.args[-1] if node.args else None
    if not isinstance(last, syntax.Literal) or (node.function, type(last.value)) not in PARSED:
        return
    try:
        PARSED[node.function, type(last.value)](last.value)
    except EvaluationError:
        yield Problem(f"invalid {node.function} argument", last.at)


def compiling(node: syntax.Call) -> int:
    """What it costs to see whether its pattern is one."""
    if node.function != "matches" and node.function not in SEARCHES:
        return 0
    return sum(effort(arg.value) for arg in node.args if isinstance(arg, syntax.Literal) and isinstance(arg.value, str))


def unusable_pattern(node: syntax.Call) -> str:
    """What is wrong with a pattern that is sought; empty where nothing is, or where it is not known yet."""
    if node.function in SEARCHES and node.member and isinstance(node.args[1], syntax.Literal):
        try:
            compiled(str(node.args[1].value))
        except EvaluationError as error:
            return str(error)
    return ""


def format_problems(node: syntax.Call, seen_as: SeenAs) -> Iterator[Problem]:
    """The first thing that `format` will not do with values whose types are known."""
    template, values = node.args
    if not isinstance(template, syntax.Literal) or not isinstance(values, syntax.ListNode):
        return
    taken = 0
    try:
        for piece in pieces(str(template.value), len(values.items)):
            if isinstance(piece, Clause):
                taken += 1
                misfit = misfit_in(piece, values.items[piece.place], seen_as)
                if misfit is not None:
                    yield misfit
                    return
    except EvaluationError as error:
        yield Problem(str(error), node.at)
        return
    if taken < len(values.items):
        told = f"too many arguments supplied to string.format (expected {taken}, got {len(values.items)})"
        yield Problem(told, node.at)


def misfit_in(clause: Clause, value: syntax.Node, seen_as: SeenAs) -> Problem | None:
    type_ = seen_as(value.type)
    name = TYPE_NAMES.get(type_.kind, type_.name or type_.kind)
    wrong = "" if type_.kind in DYNAMIC else clause.misfit(type_.kind, name)
    if wrong:
        return Problem(wrong, value.at)
    inner: list[syntax.Node] = []
    if clause.letter == "s" and isinstance(value, syntax.ListNode):
        inner = value.items
    elif clause.letter == "s" and isinstance(value, syntax.MapNode):
        inner = [part for key, item, _ in value.entries for part in (key, item)]
    return next(filter(None, (misfit_in(clause, each, seen_as) for each in inner)), None)
