"""EndpointSlice: the addresses behind each Service, at most 100 in a slice, with what may be sent to each of them.

- `ready`: send it new connections; `serving`: it answers; `terminating`: it is going away.
- Endpoints may tell for which zones or nodes they are: by the Service's `trafficDistribution`, or by `topologyhints`.
- Pods that serve the same ports share slices (`filling`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from kybern.aio.backoff import Backoff
from kybern.aio.clock import rfc3339
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
from kybern.api.errors import ApiError, NotFound
from kybern.client import Client, View
from kybern.controllers import topologyhints
from kybern.controllers.filling import MANAGER, Ports, identity, plan_family
from kybern.controllers.serving import (
    addresses_of,
    can_serve,
    families_of,
    has_selected_pods,
    hostname_of,
    pods_of,
    reference_to,
    services_of_pod,
    target_port,
)
from kybern.controllers.slices import Plan, carry_out, dated, reusing, slices_of
from kybern.controllers.topologyhints import ZONE
from kybern.reconcile import After, Context, Controller, Key, controls
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.pods import is_namespace_terminating, is_ready

SAME_ZONE = ("PreferClose", "PreferSameZone")  # the older name and the newer
SAME_NODE = "PreferSameNode"
AUTOMATIC = "hints by zone"
RETRY = Backoff(first_seconds=1.0, max_seconds=1000.0)  # upstream's
FAILED = "FailedToUpdateEndpointSlices"


async def reconcile(service: Service, view: View, client: Client, context: Context) -> After | None:
    if not has_selected_pods(service) or service.metadata.deletion_timestamp is not None:
        return None
    meta = service.metadata
    found = slices_of(meta.name or "", meta.namespace or "", MANAGER, view)
    existing = [one for one in found if one.metadata.deletion_timestamp is None]
    automatic, zone_of = topologyhints.is_automatic(service), zones(view)
    placed, lost = with_nodes(service, pods_of(service, view), zone_of)
    step = plan(service, placed, existing, zone_of, keeps_hints=automatic)
    if automatic:
        shares = topologyhints.shares_of(view.list(Node))
        step = tell_zones(service, step, existing, shares, context)
    elif topologyhints.has_hints(existing) and not service.spec.traffic_distribution:
        for family in families_of(service):
            tell(service, topologyhints.DISABLED, topologyhints.OFF, family, context)
    failed = f"Error updating Endpoint Slices for Service {meta.namespace}/{meta.name}"
    try:
        await carry_out(dated(step, rfc3339(context.now)), client)
    except ApiError as error:
        if is_namespace_terminating(error):
            return None
        context.events.event(service, "Warning", FAILED, f"{failed}: {error.message}")
        raise
    if lost:
        why = skipping(service, lost)
        context.events.event(service, "Warning", FAILED, f"{failed}: {why}")
        raise NotFound(why)
    return None


def skipping(service: Service, lost: Sequence[Pod]) -> str:
    of = f"for Service {service.metadata.namespace}/{service.metadata.name}"
    told = sorted(f"skipping Pod {pod.metadata.name} {of}: Node {pod.spec.node_name} Not Found" for pod in lost)
    return told[0] if len(told) == 1 else f"[{', '.join(told)}]"


def zones(view: View) -> Mapping[str, str]:
    return {node.metadata.name or "": (node.metadata.labels or {}).get(ZONE, "") for node in view.list(Node)}


def with_nodes(
    service: Service, pods: Sequence[Pod], zone_of: Mapping[str, str]
) -> tuple[Sequence[Pod], Sequence[Pod]]:
    """The pods that may serve, and those on a node that nobody knows: gone, or not heard of yet."""
    if service.spec.publish_not_ready_addresses:
        return pods, ()
    places: tuple[list[Pod], list[Pod]] = ([], [])
    for pod in pods:
        astray = bool(pod.spec.node_name) and pod.spec.node_name not in zone_of
        places[astray and can_serve(pod, while_terminating=True)].append(pod)
    return places


def tell_zones(
    service: Service, step: Plan, existing: Sequence[EndpointSlice], shares: topologyhints.Shares, context: Context
) -> Plan:
    """The plan with hints by the zones' shares, each family for itself."""
    writing = {found.metadata.name: found for found in step.update}
    hinted = Plan(delete=step.delete)
    for family in families_of(service):
        known = [found for found in existing if found.address_type == family and found not in step.delete]
        kept = [found for found in known if found.metadata.name not in writing]
        changed = [writing[found.metadata.name] for found in known if found.metadata.name in writing]
        new = [found for found in step.create if found.address_type == family]
        told = topologyhints.with_hints(kept, [*changed, *new], shares)
        if told.refusal:
            tell(service, topologyhints.DISABLED, told.refusal, family, context)
        elif not topologyhints.has_hints(existing):
            tell(service, topologyhints.ENABLED, topologyhints.ON, family, context)
        old, made = told.slices[: len(known)], told.slices[len(known) :]
        hinted.create += made
        hinted.update += [found for found in old if found not in known]
    return hinted


def tell(service: Service, reason: str, message: str, family: str, context: Context) -> None:
    type = "Normal" if reason == topologyhints.ENABLED else "Warning"
    context.events.event(service, type, reason, f"{message}, addressType: {family}")


def plan(
    service: Service,
    pods: Sequence[Pod],
    existing: Sequence[EndpointSlice],
    zone_of: Mapping[str, str],
    *,
    keeps_hints: bool = False,
) -> Plan:
    """`keeps_hints`: an endpoint that there is already keeps what it tells the zones. Slices of another Service that had
    this one's name end with it, and are not filled any more."""
    wanted = Plan()
    families = families_of(service)
    ours = [found for found in existing if controls(service, found) and found.address_type in families]
    for address_type in families:
        known = [found for found in ours if found.address_type == address_type]
        groups = grouped(service, pods, address_type, zone_of)
        if keeps_hints:
            groups = {ports: with_hints_of(known, endpoints) for ports, endpoints in groups.items()}
        plan_family(service, address_type, groups or {(): []}, known, wanted)
    wanted.delete += [found for found in existing if not controls(service, found) or found.address_type not in families]
    return reusing(wanted, service)


def with_hints_of(known: Sequence[EndpointSlice], endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    hints = {identity(endpoint): endpoint.hints for found in known for endpoint in found.endpoints or ()}
    return [replace(endpoint, hints=hints.get(identity(endpoint))) for endpoint in endpoints]


def grouped(
    service: Service, pods: Sequence[Pod], address_type: str, zone_of: Mapping[str, str]
) -> dict[Ports, list[Endpoint]]:
    """A pod that has none of the Service's ports is told too, without any: a headless Service is still found by name."""
    groups: dict[Ports, list[Endpoint]] = defaultdict(list)
    for pod in pods:
        addresses = addresses_of(pod, address_type)
        if addresses and can_serve(pod, while_terminating=True):
            groups[ports_of(service, pod)].append(endpoint_of(service, pod, addresses, zone_of))
    return groups


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
    if wish not in (*SAME_ZONE, SAME_NODE) or topologyhints.is_automatic(service):
        return None
    nodes = (ForNode(name=node),) if node and wish == SAME_NODE else None
    zones = (ForZone(name=zone),) if zone else None
    return EndpointHints(for_zones=zones, for_nodes=nodes) if zones or nodes else None


def automatic(service: Service) -> tuple[str, ...]:
    return (AUTOMATIC,) if topologyhints.is_automatic(service) else ()


def services_by_zone(node: Node, view: View) -> Iterable[Key]:
    """A node that comes, goes or changes may change every zone's share."""
    view.add_index(Service, AUTOMATIC, automatic)
    return [Key.of(service) for service in view.by_index(Service, AUTOMATIC, AUTOMATIC)]


ENDPOINTSLICE = Controller(
    name="endpointslice",
    rest_seconds=REST_SECONDS,
    retry=RETRY,
    component="endpoint-slice-controller",
    reconciles=Service,
    owns=(EndpointSlice,),
    watches=(Watch(Pod, services_of_pod), Watch(Node, services_by_zone)),
    by=reconcile,
)
