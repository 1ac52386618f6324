"""EndpointSlice mirroring: Endpoints that somebody wrote by hand, for a Service without a selector, told as slices too.

Those who read only slices (the service proxy, ingresses) then know them like any other.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from kybern.api.core_v1 import EndpointAddress, Endpoints, EndpointSubset, Service
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.controllers.slices import CHANGED_AT, MANAGED_BY, SERVICE_NAME, Plan, carry_out, reusing, slices_of
from kybern.reconcile import Context, Controller, Key, controller_ref, controls
from kybern.reconcile.controller import Watch

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_COPIED = {CHANGED_AT, "kubectl.kubernetes.io/last-applied-configuration"}
ADDRESSES_MAX = 1000  # of one subset, and in one slice
TOO_MANY = f"A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {{}} addresses were skipped"

Ports = tuple[EndpointPort, ...]
Group = tuple[str, Ports]
"""Address type and ports: what the endpoints of a slice have in common."""


async def reconcile(endpoints: Endpoints, view: View, client: Client, context: Context) -> None:
    meta = endpoints.metadata
    service = view.get(Service, meta.name or "", meta.namespace or "")
    existing = slices_of(meta.name or "", meta.namespace or "", MANAGER, view)
    if not is_mirrored(endpoints, service):
        await carry_out(plan(None, existing), client)
        return
    skipped = sum(map(left_out, endpoints.subsets or ()))
    if skipped:
        context.events.event(endpoints, "Warning", "TooManyAddressesToMirror", TOO_MANY.format(skipped))
    await carry_out(plan(endpoints, existing), client)


def is_mirrored(endpoints: Endpoints, service: Service | None) -> bool:
    labels, annotations = endpoints.metadata.labels or {}, endpoints.metadata.annotations or {}
    if labels.get(SKIP) == "true" or LEADER in annotations or endpoints.metadata.deletion_timestamp is not None:
        return False
    return service is not None and not service.spec.selector


def plan(endpoints: Endpoints | None, existing: Sequence[EndpointSlice]) -> Plan:
    """Slices are filled anew in order: Endpoints written by hand are small and change seldom."""
    step, left = Plan(), list(existing)
    if endpoints is None:
        return Plan(delete=left)
    for wanted in slices_for(endpoints):
        ours = [found for found in left if controls(endpoints, found)]
        same = next((s for s in ours if (s.address_type, s.ports) == (wanted.address_type, wanted.ports)), None)
        if same is None:
            step.create.append(wanted)
            continue
        left.remove(same)
        meta = replace(same.metadata, labels=wanted.metadata.labels, annotations=wanted.metadata.annotations)
        full = replace(same, endpoints=wanted.endpoints, metadata=meta)
        if full != same:
            step.update.append(full)
    step.delete = left
    return reusing(step, endpoints)


def slices_for(endpoints: Endpoints) -> Iterable[EndpointSlice]:
    groups: dict[Group, list[Endpoint]] = {}
    for subset in endpoints.subsets or ():
        for address, ready in addresses_of(subset):
            groups.setdefault((family(address.ip), ports_of(subset)), []).append(endpoint_of(address, ready=ready))
    meta = endpoints.metadata
    copied = {name: value for name, value in (meta.labels or {}).items() if name != MANAGED_BY}
    annotations = {name: value for name, value in (meta.annotations or {}).items() if name not in NOT_COPIED}
    for (address_type, ports), members in groups.items():
        for start in range(0, len(members), ADDRESSES_MAX):
            yield EndpointSlice(
                metadata=ObjectMeta(
                    generate_name=f"{meta.name}-",
                    namespace=meta.namespace,
                    annotations=annotations or None,
                    labels={**copied, SERVICE_NAME: meta.name or "", MANAGED_BY: MANAGER},
                    owner_references=(controller_ref(endpoints),),
                ),
                address_type=address_type,
                ports=ports or None,
                endpoints=tuple(members[start : start + ADDRESSES_MAX]),
            )


def addresses_of(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    ready = [(address, True) for address in subset.addresses or ()]
    other = [(address, False) for address in subset.not_ready_addresses or ()]
    return [*ready, *other][:ADDRESSES_MAX]


def left_out(subset: EndpointSubset) -> int:
    return max(len(subset.addresses or ()) + len(subset.not_ready_addresses or ()) - ADDRESSES_MAX, 0)


def family(ip: str) -> str:
    return f"IPv{ip_address(ip).version}"


def ports_of(subset: EndpointSubset) -> Ports:
    return tuple(
        EndpointPort(name=port.name or "", port=port.port, protocol=port.protocol, app_protocol=port.app_protocol)
        for port in subset.ports or ()
    )


def endpoint_of(address: EndpointAddress, *, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=(address.ip,),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


ENDPOINTSLICEMIRRORING = Controller(
    name="endpointslicemirroring",
    component="endpoint-slice-mirroring-controller",
    reconciles=Endpoints,
    owns=(EndpointSlice,),
    watches=(Watch(Service, lambda service, view: (Key.of(service),)),),
    by=reconcile,
)
