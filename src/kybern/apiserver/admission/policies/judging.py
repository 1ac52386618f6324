"""A request judged by the policies that are bound: each binding says what a broken rule means, Deny, Warn, Audit, or several."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kybern.api.errors import ApiError, Forbidden, Invalid, RequestEntityTooLarge, Unauthorized
from kybern.api.meta_v1 import StatusCause
from kybern.apiserver.admission.matching.asking import Asking
from kybern.apiserver.admission.matching.matcher import Matcher
from kybern.apiserver.admission.plugin import Inputs, refused
from kybern.apiserver.admission.policies.evaluation import Evaluation, Failed, OutOfPolicyBudget, namespace_of
from kybern.apiserver.admission.policies.matching import Concerned, Misconfigured, concerned
from kybern.apiserver.admission.policies.source import Bound
from kybern.apiserver.request import Admission
from kybern.registry.matchconditions import Broken
from kybern.registry.policyprograms import Check

FAILURE_ANNOTATION = "validation.policy.admission.k8s.io/validation_failure"
FAILURES_TOLD_MAX = 50
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


@dataclass(slots=True)
class Judgement:
    """What one policy makes of a request, with one set of params: told to the request once all of it is known."""

    found: Concerned
    denials: list[Denial] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[tuple[str, str]] = field(default_factory=list)

    def broken(self, index: int, message: str, reason: str) -> None:
        """What its binding says that a broken rule means."""
        policy, binding = self.found.bound.name, name_of(self.found.binding)
        actions = self.found.binding.spec.validation_actions
        if "Warn" in actions:
            told = f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
            self.warnings.append(told)
        if "Audit" in actions:
            self.failures.append(
                {
                    "message": message,
                    "policy": policy,
                    "binding": binding,
                    "expressionIndex": index,
                    "validationActions": list(actions),
                }
            )
        if "Deny" in actions:
            self.denied(message, reason)

    def denied(self, message: str, reason: str = "Invalid") -> None:
        self.denials.append(Denial(self.found.bound.name, name_of(self.found.binding), message, reason))


class Judge:
    def __init__(self, inputs: Inputs, matcher: Matcher) -> None:
        self.inputs = inputs
        self.matcher = matcher

    async def judge(self, policies: Sequence[Bound], admission: Admission) -> None:
        """ApiError where a rule with Deny is broken."""
        denials: list[Denial] = []
        annotations: dict[str, list[str]] = {}
        failures: list[dict[str, Any]] = []
        async for found in concerned(self.matcher, policies, admission):
            if isinstance(found, Misconfigured):
                if not found.bound.fails_open:
                    denials.append(Denial(found.bound.name, name_of(found.binding), found.why))
                continue
            async for params in found.each():
                judgement = await self.judged(found, params)
                denials += judgement.denials
                admission.warnings += judgement.warnings
                failures += judgement.failures
                for key, text in judgement.annotations:
                    values = annotations.setdefault(key, [])
                    if text not in values:
                        values.append(text)
        for key, values in annotations.items():
            admission.audit[key] = ", ".join(values)
        if failures:
            admission.audit[FAILURE_ANNOTATION] = msgspec.json.encode(failures[:FAILURES_TOLD_MAX]).decode()
        if denials:
            raise denied(admission, denials[0])

    async def judged(self, found: Concerned, params: Any) -> Judgement:
        asking = Asking(found.versioned.admission.user, self.inputs.authorizer)
        namespace = namespace_of(found.versioned, self.matcher)
        policy = await found.bound.program()

        def judged(at_once: int | None) -> Judgement:
            return judgement_of(found, Evaluation(policy, found.versioned, params, namespace, asking, at_once))

        return await asking.evaluated(judged)


def judgement_of(found: Concerned, evaluation: Evaluation) -> Judgement:
    judgement, fails_open = Judgement(found), found.bound.fails_open
    try:
        if not evaluation.concerned():
            return judgement
    except Broken as error:
        if not fails_open:
            judgement.broken(0, str(error), "Invalid")
        return judgement
    for index, check in enumerate(evaluation.policy.checks):
        wrong = broken_rule(evaluation, check, fails_open=fails_open)
        if wrong is not None:
            judgement.broken(index, *wrong)
    for key, expression in evaluation.policy.annotations:
        try:
            value = evaluation.value(expression)
        except (Failed, OutOfPolicyBudget) as error:
            if not fails_open:
                judgement.denied(str(error))
            continue
        if value is not None:
            judgement.annotations.append((f"{found.bound.name}/{key}", str(value).strip()[:ANNOTATION_LENGTH_MAX]))
    return judgement


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
