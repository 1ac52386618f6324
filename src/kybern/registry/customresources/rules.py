"""x-kubernetes-validations: what expressions say of values, compiled once and asked whenever an object is written.

- `self` is the value where the rule stands. A rule that looks at `oldSelf` is about a change: it is asked only where
  there was a value before, which in lists only those with keys can tell; or it takes `oldSelf` as something optional.
- All rules of one object share one budget, and each call has a limit of its own, so no rule holds the server up.
- A rule that fails on a part that has not changed is not held against whoever changes another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kybern.api.codec import encode
from kybern.api.invalid import FieldError, duplicate, forbidden_field, printed, required
from kybern.cel import (
    BOOL,
    STRING,
    Budget,
    CompileFailed,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    OutOfBudget,
    Program,
    WrongResult,
)
from kybern.cel.pace import COST_AT_ONCE
from kybern.cel.schema import Typed, typed_by
from kybern.cel.types import UNBOUNDED, optional_of
from kybern.cel.values import NONE, Optional
from kybern.registry.customresources.correlation import Correlation
from kybern.registry.customresources.effort import Effort, TooMuch
from kybern.registry.customresources.places import Place, Schema, some, text

OBJECT_BUDGET = 10_000_000
"""For all the rules of one write."""

REQUEST_BYTES_MAX = 3 * 1024 * 1024
MESSAGE_BYTES_MAX = 5 * 1024
NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
WHAT_IT_IS: tuple[Place, ...] = ((None, "apiVersion"), (None, "kind"))
"""Rules about these hold for every write, as upstream's do."""
RULES = "x-kubernetes-validations"
OLD = "oldSelf"

Rule = Mapping[str, Any]
"""As the schema has it: rule, message, messageExpression, reason, fieldPath, optionalOldSelf."""


class Stop(Exception):
    """Too much was asked: the remaining rules are not."""


@dataclass(frozen=True, slots=True)
class Compiled:
    rule: Rule
    program: Program | None
    """None where it could not be compiled."""
    problem: str = ""
    """Why not, in upstream's words."""
    message: Program | None = None
    message_problem: str = ""
    uses_old: bool = False

    @property
    def shown(self) -> str:
        return str(self.rule.get("message") or self.rule.get("rule", "")).strip()

    @property
    def takes_nothing(self) -> bool:
        return bool(self.rule.get("optionalOldSelf"))


def compiled_rules(schema: Schema, typed: Typed) -> list[Compiled]:
    return [compiled_rule(rule, typed) for rule in schema.get(RULES, ()) if str(rule.get("rule", "")).strip()]


def compiled_rule(rule: Rule, typed: Typed) -> Compiled:
    before = optional_of(typed.type) if rule.get("optionalOldSelf") else typed.type
    alone = Environment({"self": typed.type})
    both = alone.extended({OLD: before})
    uses_old = False
    try:
        try:
            program = alone.compile(rule["rule"], BOOL)
        except WrongResult:
            raise
        except CompileFailed:
            if OLD not in rule["rule"]:
                raise
            program = both.compile(rule["rule"], BOOL)
            uses_old = True
    except WrongResult:
        return Compiled(rule, None, "cel expression must evaluate to a bool")
    except CompileFailed as error:
        return Compiled(rule, None, error.told())
    message, problem = None, ""
    if str(rule.get("messageExpression", "")).strip():
        try:
            message = both.compile(rule["messageExpression"], STRING)
        except WrongResult:
            problem = "messageExpression must evaluate to a string"
        except CompileFailed as error:
            problem = f"messageExpression {error.told()}"
    return Compiled(rule, program, message=message, message_problem=problem, uses_old=uses_old)


# --- a tree of them ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the schema at or below which there are rules."""

    schema: Schema
    typed: Typed | None
    rules: list[Compiled]
    properties: Mapping[str, "Part"]
    values: "Part | None"
    items: "Part | None"


def rules_of(schema: Schema, *, root: bool = True) -> Part | None:
    """None where there are no rules at all."""
    properties = some(schema.get("properties", {}), lambda part: rules_of(part, root=False))
    values, items = schema.get("additionalProperties"), schema.get("items")
    of_values = rules_of(values, root=False) if isinstance(values, Mapping) else None
    of_items = rules_of(items, root=False) if isinstance(items, Mapping) else None
    typed = typed_by(schema, root=root) if schema.get(RULES) else None
    rules = compiled_rules(schema, typed) if typed is not None else []
    if not (rules or properties or of_values or of_items):
        return None
    return Part(schema, typed, rules, properties, of_values, of_items)


class Evaluation:
    """One object against all the rules there are for it."""

    def __init__(self, change: Correlation, effort: Effort) -> None:
        """`change`: what the object was before, if anything; `effort`: what judging it may still take."""
        self.change, self.effort = change, effort
        self.budget = Budget(OBJECT_BUDGET, COST_AT_ONCE if effort.others_wait else None, effort.clock)
        self.budget.until = effort.until
        self.wrong: list[FieldError] = []

    def run(self, part: Part) -> list[FieldError]:
        try:
            self.visit(part, self.change.new, self.change.old, None)
        except Stop:
            pass
        except TooMuch:
            self.wrong.append(refusal(None, NO_BUDGET))
        return self.wrong

    def is_unchanged(self, place: Place) -> bool:
        return self.change.old is not None and place not in WHAT_IT_IS and self.change.is_old(place)

    def visit(self, part: Part, value: Any, old: Any, place: Place) -> None:
        if value is None:
            return
        if part.rules and part.typed is not None:
            self.ask(part, part.typed, value, old, place)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for key, item in value.items():
                inner = part.properties.get(key, part.values)
                if inner is not None:
                    self.visit(inner, item, before.get(key), (place, key))
        elif isinstance(value, list) and part.items is not None:
            before_of = self.change.counterparts(old, part.schema)
            for index, item in enumerate(value):
                self.visit(part.items, item, before_of(item), (place, index))

    def ask(self, part: Part, typed: Typed, value: Any, old: Any, place: Place) -> None:
        known = {"self": typed.value(value)}
        before = typed.value(old) if old is not None else None
        for rule in part.rules:
            if rule.uses_old and old is None and not rule.takes_nothing:
                continue
            if rule.takes_nothing:
                known[OLD] = NONE if old is None else Optional(before)
            else:
                known[OLD] = before
            if not self.holds(rule, known, place):
                self.tell(rule, known, value, part.schema, place)

    def holds(self, rule: Compiled, known: Mapping[str, Any], place: Place) -> bool:
        if rule.program is None:
            self.refuse(place, f"rule compile error: {rule.problem}")
            return True
        if self.budget.left <= 0:
            self.stop(place, NO_BUDGET)
        try:
            return bool(rule.program.evaluate(known, self.budget))
        except OutOfBudget:
            self.stop(place, NO_BUDGET)
        except CostLimitExceeded as error:
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            self.stop(place, f"'{error}': {why}: {rule.shown}")
        except EvaluationError as error:
            if str(error).startswith("no such overload"):
                why = "call arguments did not match a supported operator, function or macro signature for rule"
                self.refuse(place, f"'{error}': {why}: {rule.shown}")
            else:
                self.refuse(place, f"{error} evaluating rule: {rule.shown}")
        return True

    def stop(self, place: Place, why: str) -> None:
        self.refuse(place, why)
        raise Stop

    def refuse(self, place: Place, why: str) -> None:
        self.add(refusal(place, why))

    def add(self, error: FieldError) -> None:
        self.wrong.append(error)
        self.effort.tell(len(error.field) + len(error.body))

    def tell(self, rule: Compiled, known: Mapping[str, Any], value: Any, schema: Schema, place: Place) -> None:
        """What a rule that does not hold has to say."""
        detail = self.message(rule, known, place)
        if not rule.uses_old and self.is_unchanged(place):
            return
        at = (text(place) + field_path(rule.rule)).removeprefix(".") or "<nil>"
        self.add(error_of(rule.rule.get("reason"), at, value, detail, schema.get("type")))

    def message(self, rule: Compiled, known: Mapping[str, Any], place: Place) -> str:
        fixed = str(rule.rule.get("message") or "").strip() or f"failed rule: {rule.shown}"
        if rule.message is None:
            return fixed
        try:
            said = str(rule.message.evaluate(known, self.budget)).strip()
        except CostLimitExceeded:
            why = "no further validation rules will be run due to call cost exceeds limit for messageExpression"
            self.stop(place, f'{why}: "{rule.rule["messageExpression"]}"')
        except EvaluationError:
            return fixed
        is_good = said and "\n" not in said and len(said.encode(errors="replace")) <= MESSAGE_BYTES_MAX
        return said if is_good else fixed


def refusal(place: Place, why: str) -> FieldError:
    return FieldError(text(place) or "<nil>", "FieldValueInvalid", f"Invalid value: {why}")


def field_path(rule: Rule) -> str:
    path = str(rule.get("fieldPath") or "").strip()
    return path if not path or path.startswith((".", "[")) else f".{path}"


def error_of(reason: str | None, at: str, value: Any, detail: str, type_: str | None) -> FieldError:
    shown = "" if type_ in ("object", "array") else f"{printed(value)}: "
    match reason:
        case "FieldValueRequired":
            return required(at, detail)
        case "FieldValueForbidden":
            return forbidden_field(at, detail)
        case "FieldValueDuplicate":
            return duplicate(at, value) if shown else FieldError(at, "FieldValueDuplicate", "Duplicate value")
    return FieldError(at, "FieldValueInvalid", f"Invalid value: {shown}{detail}")


def repeated(times: int | None, schema: Schema) -> int | None:
    """How often what is below a part can be there, the part being there so often; None where nothing bounds that."""
    most: int | None = 1
    if schema.get("type") == "array":
        most = schema.get("maxItems")
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not None:
        most = schema.get("maxProperties")
    return None if times is None or most is None else min(times * max(most, 0), UNBOUNDED)


def rule_text(rule: Rule) -> str:
    """A rule as errors show it."""
    return encode(dict(rule)).decode()
