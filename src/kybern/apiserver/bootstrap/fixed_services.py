"""Services without pods behind them: `default/kubernetes`, how pods reach the API server, and `kube-system/kube-dns`.

Their endpoints are the addresses that those who run the cluster know, and are kept pointing there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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

SKIP_MIRROR = {"endpointslice.kubernetes.io/skip-mirror": "true"}


@dataclass(frozen=True, slots=True)
class FixedPort:
    name: str
    protocol: str
    port: int
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedService:
    namespace: str
    name: str
    cluster_ip: str
    addresses: Sequence[str]
    """Where it is answered, as pods see it."""
    ports: Sequence[FixedPort]
    labels: dict[str, str] = field(default_factory=dict)
    follows_nodes: bool = False
    """Its slice is only begun here: which nodes answer is kept current by a controller."""


def kubernetes_service(cluster_ip: str, addresses: Sequence[str], port: int) -> FixedService:
    return FixedService(
        namespace="default",
        name="kubernetes",
        cluster_ip=cluster_ip,
        addresses=addresses,
        ports=(FixedPort("https", "TCP", 443, port),),
        labels={"component": "apiserver", "provider": "kubernetes"},
    )


def dns_service(cluster_ip: str, addresses: Sequence[str], port: int = 53) -> FixedService:
    return FixedService(
        namespace="kube-system",
        name="kube-dns",
        cluster_ip=cluster_ip,
        addresses=addresses,
        ports=(FixedPort("dns", "UDP", 53, port), FixedPort("dns-tcp", "TCP", 53, port)),
        labels={"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"},
        follows_nodes=True,
    )


async def ensure_fixed_service(objects: Objects, wanted: FixedService) -> None:
    await ensure_same(objects, service(wanted), ())
    await ensure_same(objects, endpoints(wanted), ("subsets",))
    await ensure_same(objects, endpoint_slice(wanted), () if wanted.follows_nodes else ("endpoints", "ports"))


async def ensure_same(objects: Objects, wanted: Any, fields: tuple[str, ...]) -> None:
    """Made when it is missing; these fields are set right when it is not."""
    found = objects.get(type(wanted), wanted.metadata.name, wanted.metadata.namespace)
    if found is None:
        await objects.create(wanted)
    elif any(getattr(found, field) != getattr(wanted, field) for field in fields):
        await objects.update(replace(found, **{field: getattr(wanted, field) for field in fields}))


def service(wanted: FixedService) -> Service:
    return Service(
        metadata=ObjectMeta(name=wanted.name, namespace=wanted.namespace, labels=wanted.labels),
        spec=ServiceSpec(
            type="ClusterIP",
            cluster_ip=wanted.cluster_ip,
            cluster_ips=(wanted.cluster_ip,),
            ip_families=(family(wanted.cluster_ip),),
            ip_family_policy="SingleStack",
            internal_traffic_policy="Cluster",
            session_affinity="None",
            ports=tuple(
                ServicePort(name=port.name, port=port.port, protocol=port.protocol, target_port=port.target)
                for port in wanted.ports
            ),
        ),
    )


def endpoints(wanted: FixedService) -> Endpoints:
    return Endpoints(
        metadata=ObjectMeta(name=wanted.name, namespace=wanted.namespace, labels=SKIP_MIRROR),
        subsets=(
            EndpointSubset(
                addresses=tuple(EndpointAddress(ip=address) for address in wanted.addresses),
                ports=tuple(EndpointPort(name=p.name, port=p.target, protocol=p.protocol) for p in wanted.ports),
            ),
        ),
    )


def endpoint_slice(wanted: FixedService) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=wanted.name, namespace=wanted.namespace, labels={"kubernetes.io/service-name": wanted.name}
        ),
        address_type=family(wanted.cluster_ip),
        endpoints=tuple(
            Endpoint(addresses=(address,), conditions=EndpointConditions(ready=True)) for address in wanted.addresses
        ),
        ports=tuple(SlicePort(name=p.name, port=p.target, protocol=p.protocol) for p in wanted.ports),
    )


def family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"
