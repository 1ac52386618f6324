"""Where a pod may run: affinity, tolerations, topology spread, gates."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import (
    Affinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinityTerm,
    PodSpec,
    Toleration,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from kybern.registry.checks import label_selector, named, operator_values

TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_placement(spec: PodSpec, at: str) -> Iterator[FieldError]:
    if spec.affinity is not None:
        yield from validate_affinity(spec.affinity, f"{at}.affinity")
    for index, gate in enumerate(spec.readiness_gates or ()):
        for wrong in names.qualified_name(gate.condition_type):
            yield invalid_value(f"{at}.readinessGates[{index}].conditionType", gate.condition_type, wrong)
    seen: set[str] = set()
    for index, scheduling_gate in enumerate(spec.scheduling_gates or ()):
        here = f"{at}.schedulingGates[{index}]"
        for wrong in names.qualified_name(scheduling_gate.name):
            yield invalid_value(here, scheduling_gate.name, wrong)
        if scheduling_gate.name in seen:
            yield duplicate(here, scheduling_gate.name)
        seen.add(scheduling_gate.name)
    if spec.topology_spread_constraints:
        yield from validate_spread(spec.topology_spread_constraints, f"{at}.topologySpreadConstraints")


def validate_affinity(affinity: Affinity, at: str) -> Iterator[FieldError]:
    node = affinity.node_affinity
    if node is not None:
        here = f"{at}.nodeAffinity"
        if node.required_during_scheduling_ignored_during_execution is not None:
            yield from validate_node_selector(
                node.required_during_scheduling_ignored_during_execution, f"{here}.{REQUIRED}"
            )
        for index, preferred in enumerate(node.preferred_during_scheduling_ignored_during_execution or ()):
            if not 1 <= preferred.weight <= 100:
                yield invalid_value(
                    f"{here}.{PREFERRED}[{index}].weight", preferred.weight, "must be in the range 1-100"
                )
            at_term = f"{here}.{PREFERRED}[{index}].preference"
            yield from validate_node_term(preferred.preference, at_term, any_value=True)
    for name, pods in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        if pods is not None:
            for index, term in enumerate(pods.required_during_scheduling_ignored_during_execution or ()):
                yield from validate_pod_term(term, f"{at}.{name}.{REQUIRED}[{index}]")
            for index, weighted in enumerate(pods.preferred_during_scheduling_ignored_during_execution or ()):
                yield from validate_weighted_term(weighted, f"{at}.{name}.{PREFERRED}[{index}]")


def validate_node_selector(selector: NodeSelector, at: str) -> Iterator[FieldError]:
    if not selector.node_selector_terms:
        yield required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(selector.node_selector_terms):
        yield from validate_node_term(term, f"{at}.nodeSelectorTerms[{index}]")


def validate_node_term(term: NodeSelectorTerm, at: str, *, any_value: bool = False) -> Iterator[FieldError]:
    """`any_value`: also one that no label can have; a preference need not be met."""
    for index, expression in enumerate(term.match_expressions or ()):
        yield from validate_node_expression(expression, f"{at}.matchExpressions[{index}]", any_value=any_value)
    for index, field in enumerate(term.match_fields or ()):
        yield from validate_node_field(field, f"{at}.matchFields[{index}]")


def validate_node_expression(
    expression: NodeSelectorRequirement, at: str, *, any_value: bool = False
) -> Iterator[FieldError]:
    if expression.operator in ("Gt", "Lt"):
        if len(expression.values or ()) != 1:
            yield required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        yield from operator_values(expression.operator, expression.values, at)
    for wrong in names.qualified_name(expression.key):
        yield invalid_value(f"{at}.key", expression.key, wrong)
    for index, value in enumerate(() if any_value else expression.values or ()):
        for wrong in names.label_value(value):
            yield invalid_value(f"{at}.values[{index}]", value, wrong)


def validate_node_field(field: NodeSelectorRequirement, at: str) -> Iterator[FieldError]:
    if field.operator in ("In", "NotIn"):
        if len(field.values or ()) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            yield required(f"{at}.values", why)
    else:
        yield invalid_value(f"{at}.operator", field.operator, "not a valid selector operator")
    if field.key != "metadata.name":
        yield invalid_value(f"{at}.key", field.key, "not a valid field selector key")
        return
    for index, value in enumerate(field.values or ()):
        for wrong in names.dns1123_subdomain(value):
            yield invalid_value(f"{at}.values[{index}]", value, wrong)


def validate_weighted_term(weighted: WeightedPodAffinityTerm, at: str) -> Iterator[FieldError]:
    if not 1 <= weighted.weight <= 100:
        yield invalid_value(f"{at}.weight", weighted.weight, "must be in the range 1-100")
    yield from validate_pod_term(weighted.pod_affinity_term, f"{at}.podAffinityTerm")


def validate_pod_term(term: PodAffinityTerm, at: str) -> Iterator[FieldError]:
    yield from label_selector(term.label_selector, f"{at}.labelSelector")
    yield from label_selector(term.namespace_selector, f"{at}.namespaceSelector")
    for namespace in term.namespaces or ():
        for wrong in names.dns1123_label(namespace):
            yield invalid_value(f"{at}.namespace", namespace, wrong)
    yield from validate_label_keys(term, at)
    if not term.topology_key:
        yield required(f"{at}.topologyKey", "can not be empty")
    for wrong in names.qualified_name(term.topology_key):
        yield invalid_value(f"{at}.topologyKey", term.topology_key, wrong)


def validate_label_keys(term: PodAffinityTerm, at: str) -> Iterator[FieldError]:
    """Keys whose values are taken from the pod itself, and become part of the selector when it is made."""
    same, other = term.match_label_keys or (), term.mismatch_label_keys or ()
    for field, keys in (("matchLabelKeys", same), ("mismatchLabelKeys", other)):
        if keys and term.label_selector is None:
            yield forbidden_field(f"{at}.{field}", "must not be specified when labelSelector is not set")
            continue
        for index, key in enumerate(keys):
            for wrong in names.qualified_name(key):
                yield invalid_value(f"{at}.{field}[{index}]", key, wrong)
    seen = set(term.label_selector.match_labels or {} if term.label_selector is not None else {})
    for expression in (term.label_selector.match_expressions or ()) if term.label_selector is not None else ():
        if expression.key in same and expression.key in seen:
            here = f"{at}[{same.index(expression.key)}]"
            yield invalid_value(here, expression.key, "exists in both matchLabelKeys and labelSelector")
        seen.add(expression.key)
    for index, key in enumerate(same):
        if key in other:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid_value(f"{at}.matchLabelKeys[{index}]", key, why)


def validate_tolerations(tolerations: tuple[Toleration, ...], at: str) -> Iterator[FieldError]:
    for index, toleration in enumerate(tolerations):
        here = f"{at}[{index}]"
        if toleration.key:
            yield from named(f"{here}.key", toleration.key, names.qualified_name)
        elif toleration.operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid_value(f"{here}.operator", toleration.operator or "", why)
        if toleration.toleration_seconds is not None and toleration.effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid_value(f"{here}.effect", toleration.effect or "", why)
        yield from validate_toleration_operator(toleration, here)
        if toleration.effect and toleration.effect not in TAINT_EFFECTS:
            yield not_supported(f"{here}.effect", toleration.effect, TAINT_EFFECTS)


def validate_toleration_operator(toleration: Toleration, at: str) -> Iterator[FieldError]:
    if not toleration.operator or toleration.operator == "Equal":
        wrong = names.label_value(toleration.value or "")
        if wrong:
            yield invalid_value(f"{at}.operator", toleration.value, ";".join(wrong))
    elif toleration.operator == "Exists":
        if toleration.value:
            yield invalid_value(f"{at}.operator", toleration.value, "value must be empty when `operator` is 'Exists'")
    else:
        yield not_supported(f"{at}.operator", toleration.operator, ("Equal", "Exists"))


def validate_spread(constraints: tuple[TopologySpreadConstraint, ...], at: str) -> Iterator[FieldError]:
    pairs = [(constraint.topology_key, constraint.when_unsatisfiable) for constraint in constraints]
    last = {pair: index for index, pair in enumerate(pairs)}
    for index, constraint in enumerate(constraints):
        here = f"{at}[{index}]"
        if constraint.max_skew <= 0:
            yield invalid_value(f"{here}.maxSkew", constraint.max_skew, "must be greater than zero")
        if not constraint.topology_key:
            yield required(f"{here}.topologyKey", "can not be empty")
        choices = ("DoNotSchedule", "ScheduleAnyway")
        if constraint.when_unsatisfiable not in choices:
            yield not_supported(f"{here}.whenUnsatisfiable", constraint.when_unsatisfiable, choices)
        if last[pairs[index]] != index:
            pair = f"{{{constraint.topology_key}, {constraint.when_unsatisfiable}}}"
            yield duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", pair)
        yield from validate_spread_details(constraint, here)


def validate_spread_details(constraint: TopologySpreadConstraint, at: str) -> Iterator[FieldError]:
    domains = constraint.min_domains
    if domains is not None:
        if domains <= 0:
            yield invalid_value(f"{at}.minDomains", domains, "must be greater than zero")
        if constraint.when_unsatisfiable != "DoNotSchedule":
            found = constraint.when_unsatisfiable
            why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {found}"
            yield invalid_value(f"{at}.minDomains", domains, why)
    for field, policy in (
        ("nodeAffinityPolicy", constraint.node_affinity_policy),
        ("nodeTaintsPolicy", constraint.node_taints_policy),
    ):
        if policy is not None and policy not in ("Honor", "Ignore"):
            yield not_supported(f"{at}.{field}", policy, ("Honor", "Ignore"))
    yield from validate_spread_keys(constraint, f"{at}.matchLabelKeys")
    yield from label_selector(constraint.label_selector, f"{at}.labelSelector")


def validate_spread_keys(constraint: TopologySpreadConstraint, at: str) -> Iterator[FieldError]:
    selector, keys = constraint.label_selector, constraint.match_label_keys or ()
    selected: set[str] = set()
    if selector is not None:
        selected = {*(selector.match_labels or {}), *(found.key for found in selector.match_expressions or ())}
    elif keys:
        yield forbidden_field(at, "must not be specified when labelSelector is not set")
    for index, key in enumerate(keys):
        for wrong in names.qualified_name(key):
            yield invalid_value(f"{at}[{index}]", key, wrong)
        if key in selected:
            yield invalid_value(f"{at}[{index}]", key, "exists in both matchLabelKeys and labelSelector")
