"""admission policies and their bindings: expressions to ask before something is stored."""

from collections.abc import Iterator
from typing import Any

from kybern.api.admissionregistration_v1 import (
    MatchResources,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    NamedRuleWithOperations,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from kybern.api.invalid import FieldError, duplicate, not_supported, required
from kybern.registry.admissionwebhooks import EVERYTHING
from kybern.registry.checks import label_selector, named
from kybern.registry.columns import AGE, NAME, UNSET
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource

ACTIONS = ("Audit", "Deny", "Warn")
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized")


def default_policy(policy: Any) -> Any:
    return part(policy, "spec", default_spec)


def default_spec(spec: Any) -> Any:
    return part(filled(spec, failure_policy="Fail"), "match_constraints", default_match)


def default_binding(binding: Any) -> Any:
    return part(binding, "spec", lambda spec: part(spec, "match_resources", default_match))


def default_match(match: MatchResources) -> MatchResources:
    match = filled(match, match_policy="Equivalent", namespace_selector=EVERYTHING, object_selector=EVERYTHING)
    return parts(parts(match, "resource_rules", default_rule), "exclude_resource_rules", default_rule)


def default_rule(rule: NamedRuleWithOperations) -> NamedRuleWithOperations:
    return filled(rule, scope="*")


def validate_common(spec: Any) -> Iterator[FieldError]:
    if spec.failure_policy not in ("Fail", "Ignore"):
        yield not_supported("spec.failurePolicy", spec.failure_policy, ("Fail", "Ignore"))
    if spec.match_constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from validate_match(spec.match_constraints, "spec.matchConstraints")
        if not spec.match_constraints.resource_rules:
            yield required("spec.matchConstraints.resourceRules")
    if spec.param_kind is not None:
        for field, value in (("apiVersion", spec.param_kind.api_version), ("kind", spec.param_kind.kind)):
            if not value:
                yield required(f"spec.paramKind.{field}")
    seen: set[str] = set()
    for index, variable in enumerate(spec.variables or ()):
        yield from named(f"spec.variables[{index}].name", variable.name, lambda text: ())
        yield from named(f"spec.variables[{index}].expression", variable.expression, lambda text: ())
        if variable.name in seen:
            yield duplicate(f"spec.variables[{index}].name", variable.name)
        seen.add(variable.name)


def validate_match(match: MatchResources, at: str) -> Iterator[FieldError]:
    yield from label_selector(match.namespace_selector, f"{at}.namespaceSelector")
    yield from label_selector(match.object_selector, f"{at}.objectSelector")
    if match.match_policy not in (None, "Equivalent", "Exact"):
        yield not_supported(f"{at}.matchPolicy", match.match_policy, ("Equivalent", "Exact"))


def validate_validating(policy: ValidatingAdmissionPolicy) -> Iterator[FieldError]:
    spec = policy.spec
    yield from validate_common(spec)
    if not spec.validations and not spec.audit_annotations:
        yield required("spec.validations", "validations or auditAnnotations must contain at least one item")
    for index, validation in enumerate(spec.validations or ()):
        if not validation.expression.strip():
            yield required(f"spec.validations[{index}].expression", "expression is not specified")
        if validation.reason is not None and validation.reason not in REASONS:
            yield not_supported(f"spec.validations[{index}].reason", validation.reason, REASONS)


def validate_mutating(policy: MutatingAdmissionPolicy) -> Iterator[FieldError]:
    yield from validate_common(policy.spec)
    if not policy.spec.mutations:
        yield required("spec.mutations", "mutations must contain at least one item")


def validate_binding(binding: Any) -> Iterator[FieldError]:
    spec = binding.spec
    if not spec.policy_name:
        yield required("spec.policyName")
    if spec.match_resources is not None:
        yield from validate_match(spec.match_resources, "spec.matchResources")
    if isinstance(binding, ValidatingAdmissionPolicyBinding):
        if not spec.validation_actions:
            yield required("spec.validationActions", "at least one validation action is required")
        for action in spec.validation_actions:
            if action not in ACTIONS:
                yield not_supported("spec.validationActions", action, ACTIONS)


def kind_cell(policy: Any, now: float) -> str:
    found = policy.spec.param_kind
    return f"{found.api_version or ''}/{found.kind or ''}" if found is not None else UNSET


def ref_cell(binding: Any, now: float) -> str:
    found = binding.spec.param_ref
    if found is None:
        return UNSET
    if found.name:
        return f"{found.namespace or '*'}/{found.name}"
    return f"{found.namespace or '*'}/{found.selector or ''}"


VALIDATING_POLICIES = Resource(
    kind=kind_of(ValidatingAdmissionPolicy),
    categories=("api-extensions",),
    default=default_policy,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_validating,
    generation=spec_of,
    subresources=(status("all"),),
    columns=(
        NAME,
        Column("Validations", lambda policy, now: len(policy.spec.validations or ()), type="integer"),
        Column("ParamKind", kind_cell),
        AGE,
    ),
)

MUTATING_POLICIES = Resource(
    kind=kind_of(MutatingAdmissionPolicy),
    categories=("api-extensions",),
    default=default_policy,
    validate=validate_mutating,
    generation=spec_of,
    columns=(
        NAME,
        Column("Mutations", lambda policy, now: len(policy.spec.mutations or ()), type="integer"),
        Column("ParamKind", kind_cell),
        AGE,
    ),
)


def binding_resource(type_: type[Any]) -> Resource:
    return Resource(
        kind=kind_of(type_),
        categories=("api-extensions",),
        default=default_binding,
        validate=validate_binding,
        generation=spec_of,
        columns=(
            NAME,
            Column("PolicyName", lambda binding, now: binding.spec.policy_name or ""),
            Column("ParamRef", ref_cell),
            AGE,
        ),
    )


VALIDATING_POLICY_BINDINGS = binding_resource(ValidatingAdmissionPolicyBinding)
MUTATING_POLICY_BINDINGS = binding_resource(MutatingAdmissionPolicyBinding)
