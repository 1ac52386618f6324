"""Endpoints: the addresses behind each Service, in one object of its name, those of its first family. EndpointSlices tell
more; this is what older clients read."""

import math
from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.core_v1 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Pod, Service
from kybern.api.errors import ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.controllers.serving import (
    addresses_of,
    can_serve,
    families_of,
    has_selected_pods,
    hostname_of,
    labels_of,
    pods_of,
    reference_to,
    services_of_pod,
    target_port,
)
from kybern.controllers.slices import CHANGED_AT
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import REST_SECONDS, Watch
from kybern.reconcile.pods import is_namespace_terminating, is_ready

ADDRESSES_MAX = 1000
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"

Ports = tuple[EndpointPort, ...]


async def reconcile(service: Service, view: View, client: Client, context: Context) -> None:
    if not has_selected_pods(service) or service.metadata.deletion_timestamp is not None:
        return
    meta = service.metadata
    known = view.get(Endpoints, meta.name or "", meta.namespace or "")
    wanted = endpoints_of(service, pods_of(service, view), known, rfc3339(context.now))
    try:
        if known is None:
            await client.create(wanted)
        elif wanted != known:
            await client.update(wanted)
    except ApiError as error:
        if is_namespace_terminating(error):
            return
        what = f"{meta.namespace}/{meta.name}: {error.message}"
        if known is None:
            context.events.event(
                wanted, "Warning", "FailedToCreateEndpoint", f"Failed to create endpoint for service {what}"
            )
        else:
            context.events.event(wanted, "Warning", "FailedToUpdateEndpoint", f"Failed to update endpoint {what}")
        raise


async def gone(key: Key, view: View, client: Client, context: Context) -> None:
    known = view.get(Endpoints, key.name, key.namespace)
    if known is not None and MANAGED_BY in (known.metadata.labels or {}):
        try:
            await client.delete(Endpoints, key.name, key.namespace, uid=known.metadata.uid or "")
        except NotFound:
            pass


def endpoints_of(service: Service, pods: list[Pod], known: Endpoints | None, now: str) -> Endpoints:
    """What the object should be: itself when nothing changed."""
    subsets, complete = bounded(subsets_of(service, pods))
    labels = {**labels_of(service), MANAGED_BY: "endpoint-controller"}
    if known is None:
        meta = ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace, labels=labels)
        known = Endpoints(metadata=meta)
    elif (known.subsets or ()) == subsets and known.metadata.labels == labels:
        return known
    annotations = {**(known.metadata.annotations or {}), CHANGED_AT: now}
    annotations.pop(OVER_CAPACITY, None)
    if not complete:
        annotations[OVER_CAPACITY] = "truncated"
    meta = replace(known.metadata, labels=labels, annotations=annotations)
    return replace(known, metadata=meta, subsets=subsets or None)


def subsets_of(service: Service, pods: list[Pod]) -> tuple[EndpointSubset, ...]:
    """Addresses grouped by the ports they serve, in a fixed order."""
    ready: dict[Ports, list[EndpointAddress]] = defaultdict(list)
    not_ready: dict[Ports, list[EndpointAddress]] = defaultdict(list)
    always = bool(service.spec.publish_not_ready_addresses)
    for pod in pods:
        if can_serve(pod, while_terminating=always):
            ports = ports_of(service, pod)
            addresses = addresses_of(pod, families_of(service)[0])
            if addresses and (ports or not service.spec.ports):
                found = address_of(service, pod, addresses[0])
                (ready if always or is_ready(pod) else not_ready)[ports].append(found)
    groups = sorted({*ready, *not_ready}, key=repr)
    return tuple(
        EndpointSubset(
            addresses=tuple(sorted(ready[ports], key=by_address)) or None,
            not_ready_addresses=tuple(sorted(not_ready[ports], key=by_address)) or None,
            ports=ports or None,
        )
        for ports in groups
    )


def ports_of(service: Service, pod: Pod) -> Ports:
    found = []
    for port in service.spec.ports or ():
        number = target_port(pod, port)
        if number is not None:
            found.append(
                EndpointPort(
                    name=port.name, port=number, protocol=port.protocol or "TCP", app_protocol=port.app_protocol
                )
            )
    return tuple(sorted(found, key=repr))


def address_of(service: Service, pod: Pod, address: str) -> EndpointAddress:
    return EndpointAddress(
        ip=address,
        node_name=pod.spec.node_name,
        hostname=hostname_of(pod, service),
        target_ref=reference_to(pod),
    )


def by_address(address: EndpointAddress) -> tuple[str, str]:
    return (address.ip, (address.target_ref and address.target_ref.uid) or "")


def bounded(subsets: tuple[EndpointSubset, ...]) -> tuple[tuple[EndpointSubset, ...], bool]:
    """A thousand addresses at most, and whether these are all: ready ones before others, every subset its share."""
    ready = [len(subset.addresses or ()) for subset in subsets]
    other = [len(subset.not_ready_addresses or ()) for subset in subsets]
    if sum(ready) + sum(other) <= ADDRESSES_MAX:
        return subsets, True
    ready = shares(ready, ADDRESSES_MAX)
    other = shares(other, ADDRESSES_MAX - sum(ready))
    cut = (
        replace(
            subset,
            addresses=(subset.addresses or ())[:kept] or None,
            not_ready_addresses=(subset.not_ready_addresses or ())[:more] or None,
        )
        for subset, kept, more in zip(subsets, ready, other, strict=True)
    )
    return tuple(subset for subset in cut if subset.addresses or subset.not_ready_addresses), False


def shares(numbers: Sequence[int], most: int) -> list[int]:
    """The numbers, made smaller in proportion until they are `most` together. What is rounded up the last one lacks."""
    total, found = sum(numbers), list[int]()
    if total <= most:
        return list(numbers)
    for number in numbers:
        found.append(min(math.ceil(number * most / total), most - sum(found)))
    return found


ENDPOINTS = Controller(
    name="endpoint",
    rest_seconds=REST_SECONDS,
    reconciles=Service,
    watches=(
        Watch(Pod, services_of_pod),
        Watch(Endpoints, lambda endpoints, view: (Key.of(endpoints),)),
    ),
    by=reconcile,
    gone=gone,
)
