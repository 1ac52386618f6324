"""Filling: which of a Service's endpoints are told in which EndpointSlice. A change touches as few slices as it can, since
every change is sent to every node; an endpoint stays where it is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import Endpoint, EndpointPort, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.serving import labels_of
from kybern.controllers.slices import ENDPOINTS_MAX, MANAGED_BY, SERVICE_NAME, Plan
from kybern.reconcile import controller_ref

MANAGER = "endpointslice-controller.k8s.io"

Ports = tuple[EndpointPort, ...]


def plan_family(
    service: Service,
    address_type: str,
    groups: Mapping[Ports, list[Endpoint]],
    existing: Sequence[EndpointSlice],
    wanted: Plan,
) -> None:
    """Keep endpoints where they are, fill what has room, make new slices for the rest, drop what is empty."""
    slices: dict[Ports, list[EndpointSlice]] = defaultdict(list)
    for found in existing:
        slices[found.ports or ()].append(found)
    for ports, endpoints in groups.items():
        plan_group(service, address_type, ports, endpoints, slices.pop(ports, []), wanted)
    wanted.delete += [found for group in slices.values() for found in group]


def plan_group(
    service: Service,
    address_type: str,
    ports: Ports,
    endpoints: Sequence[Endpoint],
    existing: Sequence[EndpointSlice],
    wanted: Plan,
) -> None:
    new = {identity(endpoint): endpoint for endpoint in endpoints}
    kept = [[new.pop(key) for key in map(identity, found.endpoints or ()) if key in new] for found in existing]
    pairs = list(zip(existing, kept, strict=True))
    stays = [with_members(service, found, members) == found for found, members in pairs]
    written = [members for members, same in zip(kept, stays, strict=True) if members and not same]
    others = [members for members, same in zip(kept, stays, strict=True) if same]
    made = spread(list(new.values()), written, others)
    spare = 1 if not endpoints else 0  # a Service without pods keeps one empty slice, which says so
    for found, members in pairs:
        if not members and not spare:
            wanted.delete.append(found)
            continue
        spare -= not members
        full = with_members(service, found, members)
        if full != found:
            wanted.update.append(full)
    for members in made or [[]] * spare:
        wanted.create.append(new_slice(service, address_type, ports, members))


def spread(
    rest: list[Endpoint], written: Sequence[list[Endpoint]], others: Sequence[list[Endpoint]]
) -> list[list[Endpoint]]:
    """Put endpoints where they cost the fewest writes: into slices that are written anyway, the fullest first; what is
    left into the fullest other one that has room for all of it, else into new ones, which are returned."""
    for members in sorted(written, key=len, reverse=True):
        move(rest, members)
    made: list[list[Endpoint]] = []
    while rest:
        roomy = [members for members in others if len(members) + len(rest) <= ENDPOINTS_MAX]
        if not roomy:
            made.append([])
        move(rest, max(roomy, key=len) if roomy else made[-1])
    return made


def move(rest: list[Endpoint], members: list[Endpoint]) -> None:
    room = ENDPOINTS_MAX - len(members)
    members += rest[:room]
    del rest[:room]


def with_members(service: Service, found: EndpointSlice, members: Sequence[Endpoint]) -> EndpointSlice:
    meta = replace(found.metadata, labels=slice_labels(service))
    return replace(found, endpoints=tuple(members) or None, metadata=meta)


def identity(endpoint: Endpoint) -> tuple[str, tuple[str, ...]]:
    return ((endpoint.target_ref and endpoint.target_ref.uid) or "", endpoint.addresses)


def slice_labels(service: Service) -> Mapping[str, str]:
    return {**labels_of(service), SERVICE_NAME: service.metadata.name or "", MANAGED_BY: MANAGER}


def new_slice(service: Service, address_type: str, ports: Ports, endpoints: Sequence[Endpoint]) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=slice_labels(service),
            owner_references=(controller_ref(service),),
        ),
        address_type=address_type,
        ports=ports or None,
        endpoints=tuple(endpoints) or None,
    )
