"""admission policies and their bindings: expressions to ask before something is stored."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.admissionregistration_v1 import (
    MatchResources,
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    MutatingAdmissionPolicySpec,
    NamedRuleWithOperations,
    ParamRef,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.api.meta_v1 import LabelSelector
from kybern.registry.admissionwebhooks import EVERYTHING, validate_rule
from kybern.registry.checks import label_selector, present, repeated
from kybern.registry.columns import AGE, NAME, UNSET
from kybern.registry.conditions import validate_conditions
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import clear_status, keep_status, kind_of, spec_of, status
from kybern.registry.resource import Column, Resource, is_large

ACTIONS = ("Audit", "Deny", "Warn")


def default_policy(policy: Any) -> Any:
    return part(policy, "spec", default_spec)


def default_spec(spec: Any) -> Any:
    if isinstance(spec, MutatingAdmissionPolicySpec):
        spec = filled(spec, reinvocation_policy="Never")
    return part(filled(spec, failure_policy="Fail"), "match_constraints", default_match)


def default_binding(binding: Any) -> Any:
    return part(binding, "spec", lambda spec: part(spec, "match_resources", default_match))


def default_match(match: MatchResources) -> MatchResources:
    match = filled(match, match_policy="Equivalent", namespace_selector=EVERYTHING, object_selector=EVERYTHING)
    return parts(parts(match, "resource_rules", default_rule), "exclude_resource_rules", default_rule)


def default_rule(rule: NamedRuleWithOperations) -> NamedRuleWithOperations:
    return filled(rule, scope="*")


def validate_constraints(spec: Any) -> Iterator[FieldError]:
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


def validate_match(match: MatchResources, at: str) -> Iterator[FieldError]:
    yield from label_selector(match.namespace_selector, f"{at}.namespaceSelector")
    yield from label_selector(match.object_selector, f"{at}.objectSelector")
    if match.match_policy not in (None, "Equivalent", "Exact"):
        yield not_supported(f"{at}.matchPolicy", match.match_policy, ("Equivalent", "Exact"))
    for field, rules in (
        ("resourceRules", match.resource_rules),
        ("excludeResourceRules", match.exclude_resource_rules),
    ):
        for index, rule in enumerate(rules or ()):
            yield from validate_named_rule(rule, f"{at}.{field}[{index}]")


def validate_named_rule(rule: NamedRuleWithOperations, at: str) -> Iterator[FieldError]:
    """A webhook's rule, perhaps about objects of some names only."""
    again = repeated(rule.resource_names or ())
    for index, name in enumerate(rule.resource_names or ()):
        here = f"{at}.resourceNames[{index}]"
        for wrong in names.path_segment(name):
            yield invalid_value(here, name, wrong)
        if index in again:
            yield duplicate(here, name)
    yield from validate_rule(rule, at)


def validate_validating(policy: ValidatingAdmissionPolicy) -> Iterator[FieldError]:
    from kybern.registry import policyrules  # with the engine, which takes 20 ms to import

    yield from validate_constraints(policy.spec)
    yield from policyrules.validate_validating(policy.spec)


def validate_status(policy: ValidatingAdmissionPolicy, old: ValidatingAdmissionPolicy) -> Iterator[FieldError]:
    found = policy.status.type_checking
    for index, warning in enumerate((found.expression_warnings or ()) if found is not None else ()):
        at = f"status.typeChecking.expressionWarnings[{index}]"
        yield from present(f"{at}.warning", warning.warning)
        yield from present(f"{at}.fieldRef", warning.field_ref.strip())
    yield from validate_conditions(policy.status.conditions or (), "status.conditions")


def validate_mutating(policy: MutatingAdmissionPolicy) -> Iterator[FieldError]:
    from kybern.registry import policyrules

    yield from validate_constraints(policy.spec)
    yield from policyrules.validate_mutating(policy.spec)


def validate_param_ref(ref: ParamRef) -> Iterator[FieldError]:
    at = "spec.paramRef"
    if ref.name and ref.selector is not None:
        yield forbidden_field(f"{at}.name", "name and selector are mutually exclusive")
    elif not ref.name and ref.selector is None:
        yield required(at, "one of name or selector must be specified")
    if ref.selector is not None:
        yield from label_selector(ref.selector, f"{at}.selector")
    if not ref.parameter_not_found_action:
        yield required(f"{at}.parameterNotFoundAction")
    elif ref.parameter_not_found_action not in ("Allow", "Deny"):
        yield not_supported(f"{at}.parameterNotFoundAction", ref.parameter_not_found_action, ("Allow", "Deny"))


def validate_binding(binding: Any) -> Iterator[FieldError]:
    spec = binding.spec
    if not spec.policy_name:
        yield required("spec.policyName")
    if spec.match_resources is not None:
        yield from validate_match(spec.match_resources, "spec.matchResources")
    if spec.param_ref is not None:
        yield from validate_param_ref(spec.param_ref)
    if isinstance(binding, ValidatingAdmissionPolicyBinding):
        if not spec.validation_actions:
            yield required("spec.validationActions", "at least one validation action is required")
        for action in spec.validation_actions:
            if action not in ACTIONS:
                yield not_supported("spec.validationActions", action, ACTIONS)
        if "Deny" in spec.validation_actions and "Warn" in spec.validation_actions:
            why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"
            yield invalid_value("spec.validationActions", list(spec.validation_actions), why)


def kind_cell(policy: Any, now: float) -> str:
    found = policy.spec.param_kind
    return f"{found.api_version or ''}/{found.kind or ''}" if found is not None else UNSET


def ref_cell(binding: Any, now: float) -> str:
    found = binding.spec.param_ref
    if found is None:
        return UNSET
    if found.name:
        return f"{found.namespace or '*'}/{found.name}"
    return UNSET if found.selector is None else go_text(found.selector)


def go_text(selector: LabelSelector) -> str:
    """As a Go program writes the message, which is what upstream shows."""
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.match_labels or {}).items()))
    wanted = "".join(
        f"LabelSelectorRequirement{{Key:{term.key},Operator:{term.operator},Values:[{' '.join(term.values or ())}],}},"
        for term in selector.match_expressions or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{wanted}}},}}"
    )


VALIDATING_POLICIES = Resource(
    kind=kind_of(ValidatingAdmissionPolicy),
    version_needed=True,
    categories=("api-extensions",),
    default=default_policy,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_validating,
    validates_long=is_large,
    generation=spec_of,
    subresources=(status("all", validate_status),),
    columns=(
        NAME,
        Column(
            "Validations",
            lambda policy, now: len(policy.spec.validations or ()),
            type="integer",
            description="Validations indicates the number of validation rules defined in this configuration",
        ),
        Column(
            "ParamKind",
            kind_cell,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
)

MUTATING_POLICIES = Resource(
    kind=kind_of(MutatingAdmissionPolicy),
    version_needed=True,
    categories=("api-extensions",),
    default=default_policy,
    validate=validate_mutating,
    validates_long=is_large,
    generation=spec_of,
    columns=(
        NAME,
        Column(
            "Mutations",
            lambda policy, now: len(policy.spec.mutations or ()),
            type="integer",
            description="Mutation indicates the number of mutations rules defined in this configuration",
        ),
        Column(
            "ParamKind",
            kind_cell,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
)


def binding_resource(type_: type[Any]) -> Resource:
    return Resource(
        kind=kind_of(type_),
        version_needed=True,
        categories=("api-extensions",),
        default=default_binding,
        validate=validate_binding,
        generation=spec_of,
        columns=(
            NAME,
            Column(
                "PolicyName",
                lambda binding, now: binding.spec.policy_name or "",
                description="PolicyName indicates the policy definition which the policy binding binded to",
            ),
            Column(
                "ParamRef",
                ref_cell,
                description="ParamRef indicates the param resource which sets the configration param",
            ),
            AGE,
        ),
    )


VALIDATING_POLICY_BINDINGS = binding_resource(ValidatingAdmissionPolicyBinding)
MUTATING_POLICY_BINDINGS = binding_resource(MutatingAdmissionPolicyBinding)
