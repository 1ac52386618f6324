"""Kinds that are questions or commands: posted, answered, and never stored. And componentstatuses, which are looked up."""

from kybern.api.authentication_v1 import SelfSubjectReview, TokenReview
from kybern.api.authorization_v1 import (
    LocalSubjectAccessReview,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
)
from kybern.api.core_v1 import Binding, ComponentStatus
from kybern.registry.columns import NAME
from kybern.registry.parts import kind_of
from kybern.registry.resource import Column, Resource

REVIEWS = tuple(
    Resource(kind=kind_of(type_))
    for type_ in (
        SelfSubjectReview,
        TokenReview,
        LocalSubjectAccessReview,
        SelfSubjectAccessReview,
        SelfSubjectRulesReview,
        SubjectAccessReview,
    )
)

BINDINGS = Resource(kind=kind_of(Binding))


def status_cell(component: ComponentStatus, now: float) -> str:
    healthy = next((c.status for c in component.conditions or () if c.type == "Healthy"), "")
    return {"True": "Healthy", "False": "Unhealthy"}.get(healthy, "Unknown")


COMPONENT_STATUSES = Resource(
    kind=kind_of(ComponentStatus),
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    short_names=("cs",),
    columns=(
        NAME,
        Column("Status", status_cell, description="Status of the component conditions"),
        Column(
            "Message",
            lambda component, now: next((c.message or "" for c in component.conditions or ()), ""),
            description="Message of the component conditions",
        ),
        Column(
            "Error",
            lambda component, now: next((c.error or "" for c in component.conditions or ()), ""),
            description="Error of the component conditions",
        ),
    ),
)
