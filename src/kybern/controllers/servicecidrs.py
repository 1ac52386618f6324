"""ServiceCIDR: a range of Service addresses is ready from the start, and stays until no address in it needs it.

An address needs it when no other range that stays has it too. A range that may go waits a little before it does, since
somebody may just be taking an address from it.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339, rfc3339
from kybern.api.errors import ApiError
from kybern.api.meta_v1 import Condition
from kybern.api.networking_v1 import IPAddress, ServiceCIDR
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
MANAGED_BY, ALLOCATOR = "ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io"
GRACE_SECONDS = 10.0
NOT_READY = "The ServiceCIDR Status can not be set to Ready=True"
READY = ("True", "", "Kubernetes Service CIDR is ready")
IN_USE = (
    "False",
    "Terminating",
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
)


async def reconcile(cidr: ServiceCIDR, view: View, client: Client, context: Context) -> After | None:
    meta = cidr.metadata
    finalizers = meta.finalizers or ()
    if meta.deletion_timestamp is None:
        if FINALIZER not in finalizers:
            cidr = await client.update(replace(cidr, metadata=replace(meta, finalizers=(*finalizers, FINALIZER))))
        try:
            await tell(cidr, READY, client, context)
        except ApiError:
            context.events.event(cidr, "Warning", "KubernetesServiceCIDRError", NOT_READY)
            raise
        return None
    if FINALIZER not in finalizers:
        return None
    if is_needed(cidr, view.list(ServiceCIDR), view.list(IPAddress)):
        await tell(cidr, IN_USE, client, context)
        return None
    left = from_rfc3339(meta.deletion_timestamp) + GRACE_SECONDS - context.now
    if left > 0:
        return After(left)
    kept = tuple(name for name in finalizers if name != FINALIZER)
    await client.update(replace(cidr, metadata=replace(meta, finalizers=kept or None)))
    return None


def is_needed(cidr: ServiceCIDR, cidrs: Iterable[ServiceCIDR], addresses: Iterable[IPAddress]) -> bool:
    others = [other for other in cidrs if other.metadata.deletion_timestamp is None]
    return any(
        is_of_a_service(address) and contains(cidr, address) and not any(contains(other, address) for other in others)
        for address in addresses
    )


def is_of_a_service(address: IPAddress) -> bool:
    """What somebody wrote by hand holds no range."""
    return (address.metadata.labels or {}).get(MANAGED_BY) == ALLOCATOR


def contains(cidr: ServiceCIDR, address: IPAddress) -> bool:
    found = ip_address(address.metadata.name or "")
    return any(found in ip_network(network) for network in cidr.spec.cidrs or ())


async def tell(cidr: ServiceCIDR, told: tuple[str, str, str], client: Client, context: Context) -> None:
    status, reason, message = told
    known = {found.type: found for found in cidr.status.conditions or ()}
    before = known.get("Ready")
    if before is not None and (before.status, before.reason, before.message) == told:
        return
    same = before is not None and before.status == status
    known["Ready"] = Condition(
        type="Ready",
        status=status,
        reason=reason,
        message=message,
        last_transition_time=before.last_transition_time if before is not None and same else rfc3339(context.now),
    )
    await client.update_status(replace(cidr, status=replace(cidr.status, conditions=tuple(known.values()))))


def ranges_of(address: IPAddress, view: View) -> Sequence[Key]:
    return [Key.of(cidr) for cidr in view.list(ServiceCIDR) if contains(cidr, address)]


def other_ranges(cidr: ServiceCIDR, view: View) -> Sequence[Key]:
    """A range that comes may be what another one's end waits for."""
    return [Key.of(other) for other in view.list(ServiceCIDR) if other.metadata.deletion_timestamp is not None]


SERVICECIDRS = Controller(
    name="service-cidrs",
    component="service-cidr-controller",
    reconciles=ServiceCIDR,
    watches=(Watch(IPAddress, ranges_of), Watch(ServiceCIDR, other_ranges)),
    by=reconcile,
)
