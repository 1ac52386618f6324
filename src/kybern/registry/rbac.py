"""roles, clusterroles and their bindings: who may do what. A binding's role is set once: remake it to change it."""

from collections.abc import Iterator
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, invalid_value, not_supported, required
from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject
from kybern.registry.checks import label_selector, named
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import filled, part, parts
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource

GROUP = "rbac.authorization.k8s.io"


def validate_role(role: Role) -> Iterator[FieldError]:
    yield from validate_rules(role.rules or (), namespaced=True)


def validate_cluster_role(role: ClusterRole) -> Iterator[FieldError]:
    yield from validate_rules(role.rules or (), namespaced=False)
    if role.aggregation_rule is not None:
        selectors = role.aggregation_rule.cluster_role_selectors
        if not selectors:
            yield required(
                "aggregationRule.clusterRoleSelectors",
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            )
        for index, selector in enumerate(selectors or ()):
            yield from label_selector(selector, f"aggregationRule.clusterRoleSelectors[{index}]")


def validate_rules(rules: tuple[PolicyRule, ...], namespaced: bool) -> Iterator[FieldError]:
    for index, rule in enumerate(rules):
        at = f"rules[{index}]"
        if not rule.verbs:
            yield required(f"{at}.verbs", "verbs must contain at least one value")
        if rule.non_resource_urls:
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                yield invalid_value(f"{at}.nonResourceURLs", rule.non_resource_urls, why)
            if rule.api_groups or rule.resources or rule.resource_names:
                why = "rules cannot apply to both regular resources and non-resource URLs"
                yield invalid_value(f"{at}.nonResourceURLs", rule.non_resource_urls, why)
            continue
        if not rule.api_groups:
            yield required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.resources:
            yield required(f"{at}.resources", "resource rules must supply at least one resource")


def default_binding(binding: Any) -> Any:
    binding = part(binding, "role_ref", lambda ref: filled(ref, api_group=GROUP))
    return parts(binding, "subjects", default_subject)


def default_subject(subject: Subject) -> Subject:
    return filled(subject, api_group=GROUP) if subject.kind in ("User", "Group") else subject


def validate_binding(binding: Any) -> Iterator[FieldError]:
    namespaced = isinstance(binding, RoleBinding)
    yield from validate_role_ref(binding.role_ref, ("ClusterRole", "Role") if namespaced else ("ClusterRole",))
    for index, subject in enumerate(binding.subjects or ()):
        yield from validate_subject(subject, f"subjects[{index}]", namespaced)


def validate_role_ref(ref: RoleRef, kinds: tuple[str, ...]) -> Iterator[FieldError]:
    if ref.api_group != GROUP:
        yield not_supported("roleRef.apiGroup", ref.api_group or "", (GROUP,))
    if ref.kind not in kinds:
        yield not_supported("roleRef.kind", ref.kind, kinds)
    yield from named("roleRef.name", ref.name, names.path_segment)


def validate_subject(subject: Subject, at: str, namespaced: bool) -> Iterator[FieldError]:
    if not subject.name:
        yield required(f"{at}.name")
    match subject.kind:
        case "ServiceAccount":
            for wrong in names.dns1123_subdomain(subject.name) if subject.name else ():
                yield invalid_value(f"{at}.name", subject.name, wrong)
            if subject.api_group:
                yield not_supported(f"{at}.apiGroup", subject.api_group, ("",))
            if not namespaced and not subject.namespace:
                yield required(f"{at}.namespace")
        case "User" | "Group":
            if not subject.name:
                yield invalid_value(f"{at}.name", "", f"{subject.kind.lower()} name cannot be empty")
            if subject.api_group != GROUP:
                yield not_supported(f"{at}.apiGroup", subject.api_group or "", (GROUP,))
        case _:
            yield not_supported(f"{at}.kind", subject.kind, ("ServiceAccount", "User", "Group"))


def validate_binding_update(binding: Any, old: Any) -> Iterator[FieldError]:
    yield from validate_binding(binding)
    if binding.role_ref != old.role_ref:
        yield invalid_value("roleRef", binding.role_ref, "cannot change roleRef")


def subjects_column(title: str, kind: str, where: str) -> Column:
    def cell(binding: Any, now: float) -> str:
        found = [subject for subject in binding.subjects or () if subject.kind == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{subject.namespace or ''}/{subject.name}" for subject in found)
        return ", ".join(subject.name for subject in found)

    return Column(title, cell, priority=1, description=f"{title} in the {where}")


def binding_columns(of: str, where: str) -> tuple[Column, ...]:
    return (
        NAME,
        Column("Role", lambda binding, now: f"{binding.role_ref.kind}/{binding.role_ref.name}", of=of),
        AGE,
        subjects_column("Users", "User", where),
        subjects_column("Groups", "Group", where),
        subjects_column("ServiceAccounts", "ServiceAccount", where),
    )


ROLES = Resource(
    kind=kind_of(Role),
    create_on_update=True,
    validate=validate_role,
    validate_name=names.path_segment,
)

CLUSTER_ROLES = Resource(
    kind=kind_of(ClusterRole),
    create_on_update=True,
    validate=validate_cluster_role,
    validate_name=names.path_segment,
)

ROLE_BINDINGS = Resource(
    kind=kind_of(RoleBinding),
    create_on_update=True,
    default=default_binding,
    validate=validate_binding,
    validate_update=validate_binding_update,
    validate_name=names.path_segment,
    columns=binding_columns("rbac_v1.RoleBinding.roleRef", "roleBinding"),
)

CLUSTER_ROLE_BINDINGS = Resource(
    kind=kind_of(ClusterRoleBinding),
    create_on_update=True,
    default=default_binding,
    validate=validate_binding,
    validate_update=validate_binding_update,
    validate_name=names.path_segment,
    columns=binding_columns("rbac_v1.ClusterRoleBinding.roleRef", "clusterRoleBinding"),
)
