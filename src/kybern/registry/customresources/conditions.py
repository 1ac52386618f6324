"""The names and conditions of a CustomResourceDefinition: what it may be called beside the others of its group, and
whether it is served. Pure; `apiserver.customresources` writes what is decided here.

    NamesAccepted   every name is its own: no other definition of the group has it
    Established     it is served: once its names were accepted, for good
    NonStructuralSchema, KubernetesAPIApprovalPolicyConformant   as upstream tells them
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kybern.api.apiextensions_v1 import (
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
)
from kybern.api.invalid import invalid_value
from kybern.registry.customresources.structural import structural_errors
from kybern.registry.customresources.version import openapi_of
from kybern.registry.parts import changed

APPROVAL = "api-approved.kubernetes.io"
NO_NAMES = CustomResourceDefinitionNames()
NO_CONFLICTS = ("True", "NoConflicts", "no conflicts found")

Conditions = tuple[CustomResourceDefinitionCondition, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """The names that others of the group have been given."""

    resources: frozenset[str]
    kinds: frozenset[str]


def taken(accepted: Sequence[CustomResourceDefinitionNames]) -> Taken:
    resources = {
        name for names in accepted for name in (names.plural, names.singular, *(names.short_names or ())) if name
    }
    kinds = {name for names in accepted for name in (names.kind, names.list_kind) if name}
    return Taken(frozenset(resources), frozenset(kinds))


def status_of(
    definition: CustomResourceDefinition, others: Sequence[CustomResourceDefinitionNames], now: str
) -> CustomResourceDefinitionStatus:
    """The status that a definition has beside the names of others of its group."""
    accepted, naming = names_of(definition, taken(others))
    conditions = definition.status.conditions or ()
    conditions = with_condition(conditions, "NamesAccepted", *naming, now=now)
    established = find(conditions, "Established")
    if established is None or established.status != "True":
        said = ("False", "NotAccepted", "not all names are accepted")
        if naming[0] == "True":
            said = ("True", "InitialNamesAccepted", "the initial names have been accepted")
        conditions = with_condition(conditions, "Established", *said, now=now)
    approval = approval_of(definition)
    if approval is not None:
        conditions = with_condition(conditions, "KubernetesAPIApprovalPolicyConformant", *approval, now=now)
    structure = structure_of(definition)
    if structure is not None:
        conditions = with_condition(conditions, "NonStructuralSchema", *structure, now=now)
    else:
        conditions = tuple(one for one in conditions if one.type != "NonStructuralSchema")
    return changed(definition.status, accepted_names=accepted, conditions=conditions)


def names_of(
    definition: CustomResourceDefinition, others: Taken
) -> tuple[CustomResourceDefinitionNames, tuple[str, str, str]]:
    """What it is called now, and the condition that says how that came."""
    wanted = definition.spec.names
    accepted = definition.status.accepted_names or NO_NAMES
    given = accepted
    condition = NO_CONFLICTS
    for field, reason, used in (
        ("plural", "PluralConflict", others.resources),
        ("singular", "SingularConflict", others.resources),
        ("short_names", "ShortNamesConflict", others.resources),
        ("kind", "KindConflict", others.kinds),
        ("list_kind", "ListKindConflict", others.kinds),
    ):
        name, before = getattr(wanted, field), getattr(accepted, field)
        conflicts = conflicts_of(name, before, used)
        if conflicts:
            condition = ("False", reason, conflicts)
        else:
            given = changed(given, **{field: name})
    return changed(given, categories=wanted.categories), condition


def conflicts_of(wanted: object, before: object, used: frozenset[str]) -> str:
    """In upstream's words; empty where a name, or each of several, is free or one's own already."""
    if wanted == before:
        return ""
    names = wanted if isinstance(wanted, tuple) else (wanted,) if wanted else ()
    own = before if isinstance(before, tuple) else ()
    said = [f'"{name}" is already in use' for name in names if name in used and name not in own]
    return said[0] if len(said) == 1 else f"[{', '.join(said)}]" if said else ""


def approval_of(definition: CustomResourceDefinition) -> tuple[str, str, str] | None:
    """Of a group that is Kubernetes' own: whether somebody has approved it; None for other groups."""
    if not is_protected(definition.spec.group):
        return None
    said = (definition.metadata.annotations or {}).get(APPROVAL, "")
    if said.startswith("unapproved"):
        why = f'not approved: "{said}"'
        return "False", "UnapprovedAnnotation", why
    if said.startswith(("http://", "https://")):
        return "True", "ApprovedAnnotation", f"approved in {said}"
    if not said:
        why = (
            f'protected groups must have approval annotation "{APPROVAL}", '
            "see https://github.com/kubernetes/enhancements/pull/1111"
        )
        return "False", "MissingAnnotation", why
    why = f'protected groups must have approval annotation "{APPROVAL}" with either a URL or a reason starting with '
    return "False", "InvalidAnnotation", why + '"unapproved", see https://github.com/kubernetes/enhancements/pull/1111'


def structure_of(definition: CustomResourceDefinition) -> tuple[str, str, str] | None:
    """What keeps a definition from being structural; None where nothing does.

    Only one that was stored by an older server, and keeps what it does not know, was never held to it when it was written.
    """
    if not definition.spec.preserve_unknown_fields:
        return None
    wrong = [invalid_value("spec.preserveUnknownFields", True, "must be false")]
    for index, version in enumerate(definition.spec.versions):
        if schema := openapi_of(version):
            wrong += structural_errors(schema, f"spec.versions[{index}].schema.openAPIV3Schema")
    told = [str(error) for error in wrong]
    return "True", "Violations", told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def is_protected(group: str) -> bool:
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


# --- conditions -------------------------------------------------------------------------------------------------------


def find(
    conditions: Iterable[CustomResourceDefinitionCondition], type_: str
) -> CustomResourceDefinitionCondition | None:
    return next((one for one in conditions if one.type == type_), None)


def is_true(definition: CustomResourceDefinition, type_: str) -> bool:
    found = find(definition.status.conditions or (), type_)
    return found is not None and found.status == "True"


def with_condition(
    conditions: Conditions, type_: str, status: str, reason: str, message: str, *, now: str
) -> Conditions:
    """The same conditions, one of them as it is now; its time is when its status last changed."""
    before = find(conditions, type_)
    since = before.last_transition_time if before is not None and before.status == status else now
    made = CustomResourceDefinitionCondition(
        type=type_, status=status, reason=reason, message=message, last_transition_time=since
    )
    if before is None:
        return (*conditions, made)
    return tuple(made if one.type == type_ else one for one in conditions)
