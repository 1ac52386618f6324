"""EndpointSlice: the addresses behind each Service, at most 100 in a slice, with what may be sent to each of them.

- `ready`: send it new connections; `serving`: it answers; `terminating`: it is going away.
- Pods that serve the same ports share slices; a change touches as few slices as it can, since every change is sent to
  every node.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from kybern.api.core_v1 import Node, Pod, Service
from kybern.api.discovery_v1 import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.controllers.serving import (
    can_serve,
    has_selected_pods,
    hostname_of,
    labels_of,
    pods_of,
    reference_to,
    services_of_pod,
    target_port,
)
from kybern.controllers.slices import ENDPOINTS_MAX, MANAGED_BY, SERVICE_NAME, Plan, carry_out, slices_of
from kybern.reconcile import Context, Controller, controller_ref
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.pods import is_ready

MANAGER = "endpointslice-controller.k8s.io"
SAME_ZONE = ("PreferClose", "PreferSameZone")  # the older name and the newer
SAME_NODE = "PreferSameNode"
ZONE = "topology.kubernetes.io/zone"

Ports = tuple[EndpointPort, ...]


async def reconcile(service: Service, view: View, client: Client, context: Context) -> None:
    if not has_selected_pods(service) or service.metadata.deletion_timestamp is not None:
        return
    meta = service.metadata
    found = slices_of(meta.name or "", meta.namespace or "", MANAGER, view)
    existing = [one for one in found if one.metadata.deletion_timestamp is None]
    await carry_out(plan(service, pods_of(service, view), existing, zones(view)), client)


def zones(view: View) -> Mapping[str, str]:
    return {node.metadata.name or "": (node.metadata.labels or {}).get(ZONE, "") for node in view.list(Node)}


def plan(service: Service, pods: Sequence[Pod], existing: Sequence[EndpointSlice], zone_of: Mapping[str, str]) -> Plan:
    wanted = Plan()
    families = families_of(service)
    for address_type in families:
        known = [found for found in existing if found.address_type == address_type]
        groups = grouped(service, pods, address_type, zone_of)
        plan_family(service, address_type, groups or {(): []}, known, wanted)
    wanted.delete += [found for found in existing if found.address_type not in families]
    return wanted


def families_of(service: Service) -> tuple[str, ...]:
    return service.spec.ip_families or ("IPv4",)


def grouped(
    service: Service, pods: Sequence[Pod], address_type: str, zone_of: Mapping[str, str]
) -> dict[Ports, list[Endpoint]]:
    groups: dict[Ports, list[Endpoint]] = defaultdict(list)
    for pod in pods:
        addresses = addresses_of(pod, address_type)
        if addresses and can_serve(pod, while_terminating=True):
            ports = ports_of(service, pod)
            if ports or not service.spec.ports:
                groups[ports].append(endpoint_of(service, pod, addresses, zone_of))
    return groups


def addresses_of(pod: Pod, address_type: str) -> tuple[str, ...]:
    found = [ip.ip or "" for ip in pod.status.pod_ips or ()] or [pod.status.pod_ip or ""]
    version = 6 if address_type == "IPv6" else 4
    return tuple(ip for ip in found if ip and ip_address(ip).version == version)


def ports_of(service: Service, pod: Pod) -> Ports:
    found = []
    for port in service.spec.ports or ():
        number = target_port(pod, port)
        if number is not None:
            found.append(
                EndpointPort(
                    name=port.name or "",
                    port=number,
                    protocol=port.protocol or "TCP",
                    app_protocol=port.app_protocol,
                )
            )
    return tuple(found)


def endpoint_of(service: Service, pod: Pod, addresses: tuple[str, ...], zone_of: Mapping[str, str]) -> Endpoint:
    serving, terminating = is_ready(pod), pod.metadata.deletion_timestamp is not None
    ready = bool(service.spec.publish_not_ready_addresses) or (serving and not terminating)
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=hostname_of(pod, service),
        node_name=pod.spec.node_name,
        zone=(zone := zone_of.get(pod.spec.node_name or "") or None),
        target_ref=reference_to(pod),
        hints=hints_for(service, zone, pod.spec.node_name) if ready else None,
    )


def hints_for(service: Service, zone: str | None, node: str | None) -> EndpointHints | None:
    """For whom the endpoint is the nearest one, where the Service prefers near ones."""
    wish = service.spec.traffic_distribution
    if wish not in (*SAME_ZONE, SAME_NODE):
        return None
    nodes = (ForNode(name=node),) if node and wish == SAME_NODE else None
    zones = (ForZone(name=zone),) if zone else None
    return EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None


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
    rest = list(new.values())
    for members in sorted(kept, key=len, reverse=True):
        room = ENDPOINTS_MAX - len(members)
        members += rest[:room]
        del rest[:room]
    spare = 1 if not endpoints else 0  # a Service without pods keeps one empty slice, which says so
    labels = slice_labels(service)
    for found, members in zip(existing, kept, strict=True):
        if not members and not spare:
            wanted.delete.append(found)
            continue
        spare -= not members
        full = replace(found, endpoints=tuple(members) or None, metadata=replace(found.metadata, labels=labels))
        if full != found:
            wanted.update.append(full)
    for start in range(0, max(len(rest), spare), ENDPOINTS_MAX):
        wanted.create.append(new_slice(service, address_type, ports, rest[start : start + ENDPOINTS_MAX]))


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


ENDPOINTSLICE = Controller(
    name="endpointslice",
    rest_seconds=REST_SECONDS,
    component="endpoint-slice-controller",
    reconciles=Service,
    owns=(EndpointSlice,),
    watches=(Watch(Pod, services_of_pod),),
    reads=(Node,),
    by=reconcile,
)
