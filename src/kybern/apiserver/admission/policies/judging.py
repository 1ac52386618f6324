"""A request judged by the policies that are bound: each binding says what a broken rule means, Deny, Warn, Audit, or several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kybern.api.errors import ApiError, Forbidden, Invalid, RequestEntityTooLarge, Unauthorized
from kybern.api.meta_v1 import StatusCause
from kybern.apiserver.admission.matching.conditions import Broken
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.plugin import Inputs, refused
from kybern.apiserver.admission.policies.evaluation import Evaluation, Failed, OutOfPolicyBudget
from kybern.apiserver.admission.policies.matching import Concerned, Misconfigured, concerned
from kybern.apiserver.admission.policies.source import Bound
from kybern.apiserver.request import Admission
from kybern.registry.policyprograms import Check

FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
MESSAGE_BYTES_MAX = 5 * 1024
ANNOTATION_LENGTH_MAX = 10 * 1024
REFUSALS: dict[str, type[ApiError]] = {
    "Forbidden": Forbidden,
    "Unauthorized": Unauthorized,
    "RequestEntityTooLarge": RequestEntityTooLarge,
    "Invalid": Invalid,
}


@dataclass(frozen=True, slots=True)
class Denial:
    policy: str
    binding: str
    message: str
    reason: str = "Invalid"

    def __str__(self) -> str:
        bound = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{bound} denied request: {self.message}"


class Judge:
    def __init__(self, inputs: Inputs, matcher: Matcher) -> None:
        self.inputs = inputs
        self.matcher = matcher

    async def judge(self, policies: Sequence[Bound], admission: Admission) -> None:
        """ApiError where a rule with Deny is broken."""
        denials: list[Denial] = []
        annotations: dict[str, list[str]] = {}
        async for found in concerned(self.matcher, policies, admission):
            if isinstance(found, Misconfigured):
                if not found.bound.fails_open:
                    denials.append(Denial(found.bound.name, name_of(found.binding), found.why))
                continue
            for params in found.params:
                denials += self.judged(found, params, annotations)
        for key, values in annotations.items():
            admission.audit[key] = ", ".join(values)
        if denials:
            raise denied(admission, denials[0])

    def judged(self, found: Concerned, params: Any, annotations: dict[str, list[str]]) -> Iterator[Denial]:
        evaluation = Evaluation(found.bound.compiled, found.versioned, params, self.matcher, self.inputs.authorizer)
        try:
            if not evaluation.concerned():
                return
        except Broken as error:
            if not found.bound.fails_open:
                yield from self.acted_upon(found, 0, str(error), "Invalid")
            return
        for index, check in enumerate(found.bound.compiled.checks):
            wrong = broken_rule(evaluation, check, fails_open=found.bound.fails_open)
            if wrong is not None:
                yield from self.acted_upon(found, index, *wrong)
        yield from self.annotated(evaluation, found, annotations)

    def acted_upon(self, found: Concerned, index: int, message: str, reason: str) -> Iterator[Denial]:
        policy, binding, admission = found.bound.name, name_of(found.binding), found.versioned.admission
        actions = found.binding.spec.validation_actions
        if "Warn" in actions:
            told = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
            admission.warnings.append(told)
        if "Audit" in actions:
            failure = {
                "message": message,
                "policy": policy,
                "binding": binding,
                "expressionIndex": index,
                "validationActions": list(actions),
            }
            admission.audit[FAILURE_ANNOTATION] = msgspec.json.encode([failure]).decode()
        if "Deny" in actions:
            yield Denial(policy, binding, message, reason)

    def annotated(
        self, evaluation: Evaluation, found: Concerned, annotations: dict[str, list[str]]
    ) -> Iterator[Denial]:
        for key, expression in found.bound.compiled.annotations:
            try:
                value = evaluation.value(expression)
            except (Failed, OutOfPolicyBudget) as error:
                if not found.bound.fails_open:
                    yield Denial(found.bound.name, name_of(found.binding), str(error))
                continue
            if value is None:
                continue
            values = annotations.setdefault(f"{found.bound.name}/{key}", [])
            text = str(value).strip()[:ANNOTATION_LENGTH_MAX]
            if text not in values:
                values.append(text)


def broken_rule(evaluation: Evaluation, check: Check, *, fails_open: bool) -> tuple[str, str] | None:
    """(message, reason), where the rule does not hold, or cannot be evaluated and that counts as much."""
    try:
        holds = evaluation.value(check.expression)
    except (Failed, OutOfPolicyBudget) as error:
        return None if fails_open else (str(error), "Invalid")
    if holds is True:
        return None
    return message_of(evaluation, check), check.rule.reason or "Invalid"


def message_of(evaluation: Evaluation, check: Check) -> str:
    """What its expression makes of it, where that is a message; else what the rule says; else the rule itself."""
    if check.message is not None:
        try:
            text = str(evaluation.value(check.message)).strip()
        except (Failed, OutOfPolicyBudget):
            text = ""
        if text and "\n" not in text and len(text.encode()) <= MESSAGE_BYTES_MAX:
            return text
    return (check.rule.message or "").strip() or f"failed expression: {check.rule.expression.strip()}"


def name_of(binding: Any) -> str:
    return "" if binding is None else binding.metadata.name or ""


def denied(admission: Admission, denial: Denial) -> ApiError:
    """In the words of a forbidden request, with the reason that the rule gives."""
    forbidden = refused(admission, str(denial))
    error = REFUSALS[denial.reason]
    return error(forbidden.message, forbidden.about, [StatusCause(message=str(denial))])
