"""What the two writers of EndpointSlices share: whose slices are whose, and how a plan for them is carried out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from kybern.api.core_v1 import Endpoints, Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.api.errors import NotFound
from kybern.client import Client, View
from kybern.reconcile import controls

ENDPOINTS_MAX = 100  # in one slice
SERVICE_NAME = "kubernetes.io/service-name"
CHANGED_AT = "endpoints.kubernetes.io/last-change-trigger-time"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


@dataclass(slots=True)
class Plan:
    create: list[EndpointSlice] = field(default_factory=list)
    update: list[EndpointSlice] = field(default_factory=list)
    delete: list[EndpointSlice] = field(default_factory=list)


def dated(wanted: Plan, now: str) -> Plan:
    """The plan, with what is written saying when it changed: whoever follows slices measures by it how late he hears."""

    def stamped(found: EndpointSlice) -> EndpointSlice:
        annotations = {**(found.metadata.annotations or {}), CHANGED_AT: now}
        return replace(found, metadata=replace(found.metadata, annotations=annotations))

    return Plan([*map(stamped, wanted.create)], [*map(stamped, wanted.update)], wanted.delete)


def reusing(wanted: Plan, owner: Service | Endpoints) -> Plan:
    """The plan, with what would come written over what would go, where both are the owner's and of one address type: one
    write instead of two, and a name that lasts."""
    step = Plan([*wanted.create], [*wanted.update])
    for old in wanted.delete:
        new = next((made for made in step.create if made.address_type == old.address_type), None)
        if new is None or not controls(owner, old):
            step.delete.append(old)
            continue
        step.create.remove(new)
        meta = replace(old.metadata, labels=new.metadata.labels, annotations=new.metadata.annotations)
        step.update.append(replace(old, ports=new.ports, endpoints=new.endpoints, metadata=meta))
    return step


async def carry_out(wanted: Plan, client: Client) -> None:
    """What comes before what goes: whoever follows the slices never sees a service without the endpoints that it keeps."""
    for found in wanted.create:
        await client.create(found)
    for found in wanted.update:
        await client.update(found)
    for found in wanted.delete:
        try:
            meta = found.metadata
            await client.delete(EndpointSlice, meta.name or "", meta.namespace or "", uid=meta.uid or "")
        except NotFound:
            pass


def slices_of(service: str, namespace: str, manager: str, view: View) -> Sequence[EndpointSlice]:
    """Those of one writer: others may describe the same Service, and theirs are left alone."""
    wanted = {SERVICE_NAME: service, MANAGED_BY: manager}.items()
    return [found for found in view.list(EndpointSlice, namespace) if wanted <= (found.metadata.labels or {}).items()]
