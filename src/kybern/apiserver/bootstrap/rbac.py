"""The bootstrap roles and bindings, made at start and repaired at every later one.

- What is missing is made; what lacks rules or subjects gets them; what somebody added stays, as with upstream.
- Our own, whose names begin with `kybern:`, have what they should and no more: what a former version gave is taken back.
- An object annotated `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
- `admin`, `edit` and `view` are sums of labelled roles: they start as the sum of the bootstrap ones.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.api.rbac_v1 import (
    AggregationRule,
    ClusterRole,
    ClusterRoleBinding,
    PolicyRule,
    Role,
    RoleBinding,
    RoleRef,
    Subject,
)
from kybern.apiserver.auth.grants import broken_down, compile_rules
from kybern.apiserver.bootstrap.controller_roles import CONTROLLER_ROLES
from kybern.apiserver.bootstrap.create import in_parallel
from kybern.apiserver.bootstrap.roles import (
    AGGREGATE_LABELS,
    AGGREGATED,
    COMPONENT_ROLES,
    GROUPS_BOUND,
    NAMESPACED_ROLES,
    ROLES_BOUND,
    USER_ROLES,
)
from kybern.apiserver.request import Objects

RBAC = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATE = f"{RBAC}/aggregate-"
VERBS = {
    "READ": ("get", "list", "watch"),
    "WRITE": ("create", "delete", "deletecollection", "patch", "update"),
}
EVENTS = "core,events.k8s.io events: create patch update"
NAMED = re.compile(r"([^\[]+)\[(.+)\]")
OWN = "kybern:"
READER = "extension-apiserver-authentication-reader"

AnyRole = ClusterRole | Role
AnyBinding = ClusterRoleBinding | RoleBinding
R = TypeVar("R", bound=AnyRole)


def parse_roles(table: str) -> dict[str, tuple[PolicyRule, ...]]:
    """Role names with their rules."""
    roles = {}
    for paragraph in table.strip().split("\n\n"):
        name, *lines = paragraph.splitlines()
        roles[name.strip()] = tuple(parse_rule(line.strip()) for line in lines)
    return roles


def parse_rule(line: str) -> PolicyRule:
    what, _, verbs_text = (EVENTS if line == "EVENTS" else line).rpartition(": ")
    groups, *resources = what.split(" ")
    verbs = tuple(verb for word in verbs_text.split() for verb in VERBS.get(word, (word,)))
    if groups == "urls":
        return PolicyRule(verbs=verbs, non_resource_urls=tuple(resources))
    named = NAMED.fullmatch(resources[0])
    return PolicyRule(
        verbs=verbs,
        api_groups=tuple("" if group == "core" else group for group in groups.split(",")),
        resources=(named[1],) if named else tuple(resources),
        resource_names=(named[2],) if named else None,
    )


def metadata(name: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> ObjectMeta:
    return ObjectMeta(
        name=name,
        namespace=namespace or None,
        annotations={AUTOUPDATE: "true"},
        labels={"kubernetes.io/bootstrapping": "rbac-defaults", **(labels or {})},
    )


def cluster_roles() -> Iterator[ClusterRole]:
    rules = parse_roles(USER_ROLES) | parse_roles(COMPONENT_ROLES)
    rules |= {f"system:controller:{name}": found for name, found in parse_roles(CONTROLLER_ROLES).items()}
    for name, found in rules.items():
        yield ClusterRole(metadata=metadata(name, labels=aggregate_label(name)), rules=found)
    for name, label in AGGREGATED.items():
        selector = LabelSelector(match_labels={f"{AGGREGATE}{label}": "true"})
        yield ClusterRole(
            metadata=metadata(name, labels=aggregate_label(name)),
            aggregation_rule=AggregationRule(cluster_role_selectors=(selector,)),
            rules=aggregated(label, rules),
        )


def aggregate_label(name: str) -> dict[str, str]:
    return {f"{AGGREGATE}{AGGREGATE_LABELS[name]}": "true"} if name in AGGREGATE_LABELS else {}


def aggregated(label: str, rules: Mapping[str, tuple[PolicyRule, ...]]) -> tuple[PolicyRule, ...]:
    """The rules of every role with that label, and of those that are sums themselves."""
    total: list[PolicyRule] = []
    for name, given in AGGREGATE_LABELS.items():
        if given == label:
            total += aggregated(AGGREGATED[name], rules) if name in AGGREGATED else rules[name]
    return tuple(dict.fromkeys(total))


def node_rules() -> tuple[PolicyRule, ...]:
    """What the Node authorizer allows besides what depends on a node's pods."""
    return parse_roles(COMPONENT_ROLES)["system:node"]


def roles() -> Iterator[Role]:
    for path, rules in parse_roles(NAMESPACED_ROLES).items():
        namespace, name = path.split("/", 1)
        yield Role(metadata=metadata(name, namespace), rules=rules)


def cluster_role_bindings() -> Iterator[ClusterRoleBinding]:
    for name, subjects in GROUPS_BOUND.items():
        yield ClusterRoleBinding(
            metadata=metadata(name),
            role_ref=RoleRef(api_group=RBAC, kind="ClusterRole", name=name),
            subjects=tuple(map(parse_subject, subjects)) or None,
        )
    for short in parse_roles(CONTROLLER_ROLES):
        name = f"system:controller:{short}"
        yield ClusterRoleBinding(
            metadata=metadata(name),
            role_ref=RoleRef(api_group=RBAC, kind="ClusterRole", name=name),
            subjects=(Subject(kind="ServiceAccount", namespace="kube-system", name=short),),
        )


def role_bindings() -> Iterator[RoleBinding]:
    for path, subjects in ROLES_BOUND.items():
        namespace, name = path.split("/", 1)
        role = READER if name.endswith(READER) else name
        yield RoleBinding(
            metadata=metadata(name, namespace),
            role_ref=RoleRef(api_group=RBAC, kind="Role", name=role),
            subjects=tuple(map(parse_subject, subjects)),
        )


def parse_subject(text: str) -> Subject:
    kind, name = text.split(" ")
    if kind == "ServiceAccount":
        namespace, name = name.split("/")
        return Subject(kind=kind, namespace=namespace, name=name)
    return Subject(kind=kind, name=name, api_group=RBAC)


async def reconcile_rbac(objects: Objects) -> None:
    """After the bootstrap namespaces are there."""
    wanted_roles: list[AnyRole] = [*cluster_roles(), *roles()]
    wanted_bindings: list[AnyBinding] = [*cluster_role_bindings(), *role_bindings()]
    await in_parallel(*(reconcile_role(objects, role) for role in wanted_roles))
    await in_parallel(*(reconcile_binding(objects, binding) for binding in wanted_bindings))


async def reconcile_role(objects: Objects, wanted: AnyRole) -> None:
    found = objects.get(type(wanted), wanted.metadata.name or "", wanted.metadata.namespace or "")
    if found is None:
        await objects.create(wanted)
    elif is_updated(found):
        repaired = repaired_role(found, wanted)
        if repaired != found:
            await objects.update(repaired)


async def reconcile_binding(objects: Objects, wanted: AnyBinding) -> None:
    name, namespace = wanted.metadata.name or "", wanted.metadata.namespace or ""
    found = objects.get(type(wanted), name, namespace)
    if found is None:
        await objects.create(wanted)
    elif is_updated(found):
        if found.role_ref != wanted.role_ref:  # cannot be changed, only made anew
            await objects.delete(type(wanted), name, namespace, uid=found.metadata.uid or "")
            await objects.create(wanted)
            return
        has = found.subjects or ()
        repaired = repaired_subjects(name, has, wanted.subjects or ())
        if repaired != has:
            await objects.update(replace(found, subjects=repaired))


def is_updated(found: Any) -> bool:
    return (found.metadata.annotations or {}).get(AUTOUPDATE) != "false"


def repaired_role(found: R, wanted: R) -> R:
    labels = dict(wanted.metadata.labels or {}) | dict(found.metadata.labels or {})
    annotations = dict(wanted.metadata.annotations or {}) | dict(found.metadata.annotations or {})
    repaired = found
    if labels != dict(found.metadata.labels or {}) or annotations != dict(found.metadata.annotations or {}):
        repaired = replace(found, metadata=replace(found.metadata, labels=labels, annotations=annotations))
    if isinstance(wanted, ClusterRole) and wanted.aggregation_rule is not None:
        return repaired  # its rules are the sum of others, which are repaired themselves
    if (wanted.metadata.name or "").startswith(OWN):
        return replace(repaired, rules=wanted.rules) if found.rules != wanted.rules else repaired
    missing = missing_rules(found.rules or (), wanted.rules or ())
    return replace(repaired, rules=(*(found.rules or ()), *missing)) if missing else repaired


def missing_rules(found: Sequence[PolicyRule], wanted: Sequence[PolicyRule]) -> list[PolicyRule]:
    if found == wanted:
        return []
    grants = compile_rules(found)
    return [rule for rule in wanted if not all(map(grants.covers, broken_down((rule,))))]


def repaired_subjects(name: str, found: Sequence[Subject], wanted: Sequence[Subject]) -> Sequence[Subject]:
    surplus = missing_subjects(wanted, found)
    return wanted if surplus and name.startswith(OWN) else (*found, *missing_subjects(found, wanted))


def missing_subjects(found: Sequence[Subject], wanted: Sequence[Subject]) -> list[Subject]:
    known = {(subject.kind, subject.namespace or "", subject.name) for subject in found}
    return [subject for subject in wanted if (subject.kind, subject.namespace or "", subject.name) not in known]
