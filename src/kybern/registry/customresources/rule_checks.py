"""The rules for rules: that an expression compiles, names what there is, and cannot cost too much, before it is ever asked.

What a rule costs at most is what one evaluation can cost, times how often the part it stands at can be in one object. A
part in a list or map without a bound can be there as often as its shortest form fits into a request.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_supported, required
from kybern.cel import Program
from kybern.cel.schema import Typed, typed_by
from kybern.cel.types import UNBOUNDED
from kybern.registry.customresources.fieldpaths import InvalidPath, resolved
from kybern.registry.customresources.places import Schema
from kybern.registry.customresources.rules import (
    REQUEST_BYTES_MAX,
    RULES,
    Compiled,
    Rule,
    compiled_rule,
    repeated,
    rule_text,
)

RULE_COST_MAX = 10_000_000
SCHEMA_COST_MAX = 100_000_000
TOLD_MAX = 4  # of the rules that make a schema too dear
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
LINE_ENDS = re.compile(r"[\n\r]")


@dataclass(slots=True)
class Total:
    cost: int = 0
    dear: list[tuple[int, str]] = field(default_factory=list)

    def add(self, cost: int, at: str) -> None:
        self.cost = min(self.cost + cost, UNBOUNDED)
        if cost >= SCHEMA_COST_MAX // 100:
            self.dear = sorted([*self.dear, (cost, at)], key=lambda one: -one[0])[:TOLD_MAX]


@dataclass(frozen=True, slots=True)
class Where:
    """What holds for a part because of where it is."""

    times: int | None = 1
    """How often it can be in an object; None where nothing bounds that."""
    unrelated: str = ""
    """The part around it whose old and new items cannot be told to be the same; empty where all can."""


def rule_errors(schema: Schema, at: str) -> Iterator[FieldError]:
    """Of a schema that is right otherwise."""
    total = Total()
    yield from part_errors(schema, at, Where(), total, root=True)
    if total.cost > SCHEMA_COST_MAX:
        for _, where in total.dear:
            why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            yield forbidden_field(where, why)
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield forbidden_field(at, too_dear(name, total.cost, SCHEMA_COST_MAX))


def part_errors(schema: Schema, at: str, where: Where, total: Total, *, root: bool = False) -> Iterator[FieldError]:
    below = replace(where, times=repeated(where.times, schema))
    for key, part in schema.get("properties", {}).items():
        yield from part_errors(part, f"{at}.properties[{key}]", below, total)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from part_errors(schema["additionalProperties"], f"{at}.additionalProperties", below, total)
    if isinstance(schema.get("items"), Mapping):
        if schema.get("x-kubernetes-list-type") != "map":
            below = replace(below, unrelated=below.unrelated or at)
        yield from part_errors(schema["items"], f"{at}.items", below, total)
    rules = schema.get(RULES, ())
    if not rules:
        return
    wrong = [error for index, rule in enumerate(rules) for error in text_errors(rule, schema, f"{at}.{RULES}[{index}]")]
    yield from wrong
    typed = None if wrong else typed_by(schema, root=root)
    if typed is None:
        return
    for index, rule in enumerate(rules):
        yield from compiled_errors(compiled_rule(rule, typed), typed, where, f"{at}.{RULES}[{index}]", total)


def text_errors(rule: Rule, schema: Schema, at: str) -> Iterator[FieldError]:
    """What is wrong with a rule's texts."""
    source, message = str(rule.get("rule", "")), str(rule.get("message") or "")
    if not source.strip():
        yield required(f"{at}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid_value(f"{at}.message", message, "must be non-empty if specified")
    elif LINE_ENDS.search(message.strip()):
        yield invalid_value(f"{at}.message", message, "must not contain line breaks")
    elif LINE_ENDS.search(source.strip()) and not message.strip():
        yield required(f"{at}.message", "message must be specified if rule contains line breaks")
    expression = str(rule.get("messageExpression") or "")
    if expression and not expression.strip():
        yield required(f"{at}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in REASONS:
        yield not_supported(f"{at}.reason", rule["reason"], REASONS)
    path = str(rule.get("fieldPath") or "")
    if path and not path.strip():
        yield invalid_value(f"{at}.fieldPath", path, "must be non-empty if specified")
    if LINE_ENDS.search(path):
        yield invalid_value(f"{at}.fieldPath", path, "must not contain line breaks")
    if path:
        try:
            resolved(path, schema)
        except InvalidPath:
            yield invalid_value(f"{at}.fieldPath", path, "must be a valid path")


def compiled_errors(compiled: Compiled, typed: Typed, where: Where, at: str, total: Total) -> Iterator[FieldError]:
    if compiled.program is None:
        yield shown(f"{at}.rule", compiled.rule, compiled.problem)
        return
    yield from cost_errors(compiled.program, typed, where, "estimated rule cost", f"{at}.rule", total)
    if compiled.message_problem:
        yield shown(f"{at}.messageExpression", compiled.rule, compiled.message_problem)
    elif compiled.message is not None:
        name = "estimated messageExpression cost"
        yield from cost_errors(compiled.message, typed, Where(), name, f"{at}.messageExpression", total)
    if compiled.uses_old and where.unrelated:
        why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {where.unrelated}"
        yield invalid_value(f"{at}.rule", compiled.rule["rule"], why)
    if not compiled.uses_old and compiled.rule.get("optionalOldSelf") is not None:
        why = "may not be set if oldSelf is not used in rule"
        yield invalid_value(f"{at}.optionalOldSelf", compiled.rule["optionalOldSelf"], why)


def shown(at: str, rule: Rule, why: str) -> FieldError:
    return FieldError(at, "FieldValueInvalid", f"Invalid value: {rule_text(rule)}: {why}")


def cost_errors(program: Program, typed: Typed, where: Where, name: str, at: str, total: Total) -> Iterator[FieldError]:
    times = REQUEST_BYTES_MAX // (typed.bytes_min + 1) if where.times is None else where.times
    cost = min(program.estimate.most * times, UNBOUNDED)
    if cost > RULE_COST_MAX:
        yield forbidden_field(at, too_dear(name, cost, RULE_COST_MAX))
    total.add(cost, at)


def too_dear(name: str, cost: int, limit: int) -> str:
    times = cost / limit
    factor = "more than 100x" if times > 100 else f"{times:.6f}x" if times < 1.5 else f"{times:.1f}x"
    return f"{name} exceeds budget by factor of {factor} {ADVICE}"
