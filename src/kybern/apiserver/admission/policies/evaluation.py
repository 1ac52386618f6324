"""The values that a policy's expressions see, and one budget for all of them.

Variables are evaluated when somebody asks, once, in the same budget; what goes wrong in one goes wrong where it is used.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api.codec import to_builtins
from kybern.api.core_v1 import Namespace
from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.matching.values import Values, values_of
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.cel import Budget, CostLimitExceeded, EvaluationError, OutOfBudget
from kybern.registry.matchconditions import OUT_OF_BUDGET as NO_BUDGET
from kybern.registry.matchconditions import hold
from kybern.registry.policyprograms import Expression, Policy

POLICY_COST_MAX = 10_000_000


class OutOfPolicyBudget(Exception):
    def __init__(self) -> None:
        super().__init__(NO_BUDGET)


class Failed(Exception):
    """An expression could not be evaluated."""


class Evaluation(Mapping[str, Any]):
    """One policy on one request with one set of params."""

    def __init__(
        self,
        policy: Policy,
        versioned: Versioned,
        params: Any,
        namespace: Any,
        asking: Asking,
        at_once: int | None,
    ) -> None:
        self.policy = policy
        self.params = params
        self.at_once = at_once
        self.budget = Budget(POLICY_COST_MAX, at_once)
        self.request: Values = values_of(versioned, asking)
        self.variables = Variables(self)
        self.namespace = namespace

    def __getitem__(self, name: str) -> Any:
        match name:
            case "params":
                return self.params
            case "variables":
                return self.variables
            case "namespaceObject":
                return self.namespace
        return self.request[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*self.request, "params", "variables", "namespaceObject"))

    def __len__(self) -> int:
        return len(self.request) + 3

    def concerned(self) -> bool:
        """Whether the match conditions hold. Broken where that cannot be said."""
        return not self.policy.conditions or hold(self.policy.conditions, self, self.at_once)

    def value(self, expression: Expression) -> Any:
        """Failed with upstream's words; OutOfPolicyBudget where all of them together cost too much."""
        if expression.program is None:
            raise Failed(expression.wrong)
        try:
            return expression.program.evaluate(self, self.budget)
        except OutOfBudget:
            raise OutOfPolicyBudget from None
        except (EvaluationError, CostLimitExceeded) as error:
            raise Failed(f"expression '{expression.source}' resulted in error: {error}") from None


class Variables(Mapping[str, Any]):
    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self.found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self.found:
            self.found[name] = self.evaluated(name)
        value = self.found[name]
        if isinstance(value, EvaluationError):
            raise value
        return value

    def evaluated(self, name: str) -> Any:
        expression = self.evaluation.policy.variables[name]
        try:
            if expression.program is None:
                raise EvaluationError(expression.wrong)
            return expression.program.evaluate(self.evaluation, self.evaluation.budget)
        except EvaluationError as error:
            return EvaluationError(f'composited variable "{name}" fails to evaluate: {error}')

    def __contains__(self, name: object) -> bool:
        return name in self.evaluation.policy.variables

    def __iter__(self) -> Iterator[str]:
        return iter(self.evaluation.policy.variables)

    def __len__(self) -> int:
        return len(self.evaluation.policy.variables)


def namespace_of(versioned: Versioned, matcher: Matcher) -> Any:
    """What expressions may know of the request's namespace; None for what is in none, and for namespaces themselves."""
    admission = versioned.admission
    if not admission.resource.kind.namespaced or admission.resource.kind.type is Namespace or not admission.namespace:
        return None
    found = to_builtins(matcher.namespace(admission.namespace))
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {"metadata": metadata, "spec": found.get("spec", {}), "status": found.get("status", {})}
