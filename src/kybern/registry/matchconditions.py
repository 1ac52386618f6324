"""Match conditions: expressions that all must hold for a webhook, a policy or an authorizer to be asked at all.

They are compiled once, and refused in upstream's words where they do not compile. One that does not hold excuses, whatever
the others do; an error counts only where none does. All together may cost `CONDITIONS_COST_MAX`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kybern.api import names
from kybern.api.admissionregistration_v1 import MatchCondition
from kybern.api.invalid import FieldError, duplicate, invalid_value, required
from kybern.cel import (
    BOOL,
    Budget,
    CompileFailed,
    CostLimitExceeded,
    Environment,
    EvaluationError,
    OutOfBudget,
    Program,
)
from kybern.registry.checks import at_most
from kybern.registry.expressions import HOOK_ENVIRONMENT

CONDITIONS_MAX = 64
PROGRAMS_KEPT = 4096
CONDITIONS_COST_MAX = 2_500_000
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class Broken(Exception):
    """A condition could not be evaluated, and none said no."""


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    program: Program | None
    """None where it is stored although it does not compile."""
    wrong: str = ""


@lru_cache(maxsize=PROGRAMS_KEPT)
def compiled(condition: MatchCondition) -> Condition:
    """Of a webhook."""
    return compiled_in(HOOK_ENVIRONMENT, condition)


def compiled_in(environment: Environment, condition: MatchCondition) -> Condition:
    try:
        return Condition(condition.name, environment.compile(condition.expression, BOOL))
    except CompileFailed as error:
        return Condition(condition.name, None, error.told())


def hold(conditions: Iterable[Condition], values: Mapping[str, Any], at_once: int | None = None) -> bool:
    budget, broken = Budget(CONDITIONS_COST_MAX, at_once), []
    for condition in conditions:
        if condition.program is None:
            broken.append(condition.wrong)
            continue
        try:
            found = condition.program.evaluate(values, budget)
        except OutOfBudget:
            raise Broken(OUT_OF_BUDGET) from None
        except (EvaluationError, CostLimitExceeded) as error:
            broken.append(f"expression '{condition.program.expression}' resulted in error: {error}")
            continue
        if found is not True:
            return False
    if broken:
        raise Broken(broken[0] if len(broken) == 1 else f"[{', '.join(broken)}]")
    return True


def validate(conditions: Sequence[MatchCondition] | None, at: str) -> Iterator[FieldError]:
    yield from validate_compiled(conditions, tuple(map(compiled, conditions or ())), at)


def validate_compiled(
    conditions: Sequence[MatchCondition] | None, made: Sequence[Condition], at: str
) -> Iterator[FieldError]:
    yield from at_most(at, made, CONDITIONS_MAX)
    seen: set[str] = set()
    for index, (condition, found) in enumerate(zip(conditions or (), made, strict=True)):
        yield from validate_one(condition, found, f"{at}[{index}]")
        if condition.name in seen:
            yield duplicate(f"{at}[{index}].name", condition.name)
        seen.add(condition.name)


def validate_one(condition: MatchCondition, found: Condition, at: str) -> Iterator[FieldError]:
    if not condition.expression.strip():
        yield required(f"{at}.expression")
    elif found.program is None:
        yield invalid_value(f"{at}.expression", condition.expression, found.wrong)
    if not condition.name:
        yield required(f"{at}.name")
    else:
        for wrong in names.qualified_name(condition.name):
            yield invalid_value(f"{at}.name", condition.name, wrong)
