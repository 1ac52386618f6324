"""What all admission plugins share: their two calls, what they are built from, and how they refuse."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.errors import About, Forbidden, forbidden
from kybern.apiserver.admission.webhooks.metrics import WebhookMetrics
from kybern.apiserver.auth.rbac import Rbac
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.request import Admission, Authorizer, Objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a plugin may ask."""

    objects: Objects
    authorizer: Authorizer
    rbac: Rbac
    clock: Clock
    ids: Ids
    callouts: Callouts
    webhook_metrics: WebhookMetrics = field(default_factory=WebhookMetrics)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """What an AdmissionConfiguration says to plugins, by their names."""


class Plugin:
    """A plugin that changes nothing and refuses nothing."""

    name = ""
    kinds: tuple[type[Any], ...] = ()
    """Those that it has to do with, whatever the part of them that is written; none: all."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.objects = inputs.objects

    async def admit(self, admission: Admission) -> None:
        return

    async def validate(self, admission: Admission) -> None:
        return


def is_write_of(admission: Admission, kind: type[Any], *operations: str) -> bool:
    """A write of the object itself, not of a subresource."""
    return (
        admission.resource.kind.type is kind
        and not admission.subresource
        and admission.operation in (operations or ("CREATE", "UPDATE"))
    )


def refused(admission: Admission, why: str) -> Forbidden:
    """Upstream's wording: an object that has no name yet is called by its prefix, or unknown."""
    kind = admission.resource.kind
    about = About(resource=kind.plural, group=kind.group, name=name_of(admission), kind=kind.kind)
    return forbidden(about, why)


def name_of(admission: Admission) -> str:
    metadata = getattr(admission.object, "metadata", None)
    return (
        admission.name
        or (getattr(metadata, "name", None) or "")
        or (getattr(metadata, "generate_name", None) or "")
        or "Unknown"
    )


def joined(reasons: list[str]) -> str:
    """Several reasons as upstream prints an aggregate."""
    return reasons[0] if len(reasons) == 1 else f"[{', '.join(reasons)}]"
