"""Match conditions: expressions that all must hold for a webhook or policy to be asked at all.

One that does not hold excuses, whatever the others do; an error counts only where none does. All of a hook's conditions
together may cost `CONDITIONS_COST_MAX`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from kybern.apiserver.admission.matching.values import values_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.request import Authorizer
from kybern.cel import Budget, CostLimitExceeded, EvaluationError, OutOfBudget
from kybern.registry.matchconditions import Condition, compiled

CONDITIONS_COST_MAX = 2_500_000
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class Broken(Exception):
    """A condition could not be evaluated, and none said no."""


def of_hook_hold(webhook: Any, versioned: Versioned, authorizer: Authorizer) -> bool:
    return hold(map(compiled, webhook.match_conditions), values_of(versioned, authorizer))


def hold(conditions: Iterable[Condition], values: Mapping[str, Any]) -> bool:
    budget, broken = Budget(CONDITIONS_COST_MAX), []
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
