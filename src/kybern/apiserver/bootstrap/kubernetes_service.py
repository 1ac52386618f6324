"""The Service `default/kubernetes`: how pods reach the API server, kept pointing at the addresses it listens on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    Service,
    ServicePort,
    ServiceSpec,
)
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointSlice
from kybern.api.discovery_v1 import EndpointPort as SlicePort
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.request import Objects

NAME, NAMESPACE, PORT = "kubernetes", "default", 443


@dataclass(frozen=True, slots=True)
class KubernetesService:
    cluster_ip: str
    addresses: Sequence[str]
    """Where the API server listens, as pods see it."""
    port: int


async def ensure_kubernetes_service(objects: Objects, wanted: KubernetesService) -> None:
    await ensure_same(objects, service(wanted), ("spec",), made_once=True)
    await ensure_same(objects, endpoints(wanted), ("subsets",))
    await ensure_same(objects, endpoint_slice(wanted), ("endpoints", "ports"))


async def ensure_same(objects: Objects, wanted: Any, fields: tuple[str, ...], *, made_once: bool = False) -> None:
    found = objects.get(type(wanted), NAME, NAMESPACE)
    if found is None:
        await objects.create(wanted)
    elif not made_once and any(getattr(found, field) != getattr(wanted, field) for field in fields):
        await objects.update(replace(found, **{field: getattr(wanted, field) for field in fields}))


def service(wanted: KubernetesService) -> Service:
    port = ServicePort(name="https", port=PORT, protocol="TCP", target_port=wanted.port)
    return Service(
        metadata=ObjectMeta(
            name=NAME, namespace=NAMESPACE, labels={"component": "apiserver", "provider": "kubernetes"}
        ),
        spec=ServiceSpec(
            type="ClusterIP",
            cluster_ip=wanted.cluster_ip,
            cluster_ips=(wanted.cluster_ip,),
            ip_families=("IPv4",),
            ip_family_policy="SingleStack",
            internal_traffic_policy="Cluster",
            session_affinity="None",
            ports=(port,),
        ),
    )


def endpoints(wanted: KubernetesService) -> Endpoints:
    return Endpoints(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={"endpointslice.kubernetes.io/skip-mirror": "true"}),
        subsets=(
            EndpointSubset(
                addresses=tuple(EndpointAddress(ip=address) for address in wanted.addresses),
                ports=(EndpointPort(name="https", port=wanted.port, protocol="TCP"),),
            ),
        ),
    )


def endpoint_slice(wanted: KubernetesService) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={"kubernetes.io/service-name": NAME}),
        address_type="IPv4",
        endpoints=tuple(
            Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True)) for address in wanted.addresses
        ),
        ports=(SlicePort(name="https", port=wanted.port, protocol="TCP"),),
    )
