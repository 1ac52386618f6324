"""What is wrong with a policy's expressions, and with what belongs to them: messages, reasons, keys, forms of patches."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.admissionregistration_v1 import (
    MutatingAdmissionPolicySpec,
    Mutation,
    ValidatingAdmissionPolicySpec,
)
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required
from kybern.registry import matchconditions, policyprograms
from kybern.registry.checks import named
from kybern.registry.policyprograms import Check, Expression, Policy, compile_policy

REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")


def validate_common(spec: Any, policy: Policy) -> Iterator[FieldError]:
    yield from policyprograms.wrong_variables(spec, policy)
    yield from matchconditions.validate_compiled(spec.match_conditions, policy.conditions, "spec.matchConditions")


def validate_validating(spec: ValidatingAdmissionPolicySpec) -> Iterator[FieldError]:
    compiled = compile_policy(spec)
    yield from validate_common(spec, compiled)
    if not spec.validations and not spec.audit_annotations:
        yield required("spec.validations", "validations or auditAnnotations must contain at least one item")
    for index, check in enumerate(compiled.checks):
        yield from validate_check(check, f"spec.validations[{index}]")
    seen: set[str] = set()
    for index, (key, expression) in enumerate(compiled.annotations):
        at = f"spec.auditAnnotations[{index}]"
        yield from named(f"{at}.key", key, names.qualified_name)
        if key in seen:
            yield duplicate(f"{at}.key", key)
        seen.add(key)
        yield from policyprograms.wrong_expression(f"{at}.valueExpression", expression)


def validate_check(check: Check, at: str) -> Iterator[FieldError]:
    rule = check.rule
    yield from policyprograms.wrong_expression(f"{at}.expression", check.expression)
    if check.message is not None:
        yield from policyprograms.wrong_expression(f"{at}.messageExpression", check.message)
    if rule.message is not None and not rule.message.strip():
        yield invalid_value(f"{at}.message", rule.message, "message must be non-empty if specified")
    elif rule.message is not None and "\n" in rule.message.strip():
        yield invalid_value(f"{at}.message", rule.message, "message must not contain line breaks")
    elif rule.message is None and "\n" in rule.expression.strip():
        yield required(f"{at}.message", "message must be specified if expression contains line breaks")
    if rule.reason is not None and rule.reason not in REASONS:
        yield not_supported(f"{at}.reason", rule.reason, REASONS)


def validate_mutating(spec: MutatingAdmissionPolicySpec) -> Iterator[FieldError]:
    compiled = compile_policy(spec)
    yield from validate_common(spec, compiled)
    if spec.reinvocation_policy not in ("IfNeeded", "Never"):
        yield not_supported("spec.reinvocationPolicy", spec.reinvocation_policy, ("IfNeeded", "Never"))
    if not spec.mutations:
        yield required("spec.mutations", "mutations must contain at least one item")
    for index, (mutation, expression) in enumerate(compiled.mutations):
        yield from validate_mutation(mutation, expression, f"spec.mutations[{index}]")


def validate_mutation(mutation: Mutation, expression: Expression, at: str) -> Iterator[FieldError]:
    forms = {"ApplyConfiguration": mutation.apply_configuration, "JSONPatch": mutation.json_patch}
    if not mutation.patch_type:
        yield required(f"{at}.patchType")
    elif mutation.patch_type not in forms:
        yield not_supported(f"{at}.patchType", mutation.patch_type, tuple(forms))
    else:
        field = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}[mutation.patch_type]
        if forms[mutation.patch_type] is None:
            yield required(f"{at}.{field}", f"{field} is required when patchType is {mutation.patch_type}")
        elif sum(form is not None for form in forms.values()) > 1:
            yield invalid_value(
                at, mutation.patch_type, "only one of applyConfiguration and jsonPatch may be specified"
            )
        else:
            yield from policyprograms.wrong_expression(f"{at}.{field}.expression", expression)
