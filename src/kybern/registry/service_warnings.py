"""What of a Service is ignored, or written as it once was: upstream's warnings, in its words."""

from collections.abc import Iterator

from kybern.api.core_v1 import Service
from kybern.registry.address_warnings import all_cidr_warnings, all_ip_warnings, ip_warnings

TOPOLOGY_MODE = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS = "service.kubernetes.io/topology-aware-hints"


def warnings(service: Service, old: Service | None) -> Iterator[str]:
    spec = service.spec
    if TOPOLOGY_HINTS in (service.metadata.annotations or {}):
        yield f"annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"
    if spec.cluster_ip not in (None, "", "None"):
        yield from all_ip_warnings("spec.clusterIPs", spec.cluster_ips)
    if spec.type == "ClusterIP" and spec.cluster_ip == "None":
        for field, is_told in (
            ("loadBalancerIP", bool(spec.load_balancer_ip)),
            ("externalIPs", bool(spec.external_ips)),
            ("SessionAffinity", spec.session_affinity != "None"),
        ):
            if is_told:
                yield f"spec.{field} is ignored for headless services"
    yield from all_ip_warnings("spec.externalIPs", spec.external_ips)
    yield from ip_warnings("spec.loadBalancerIP", spec.load_balancer_ip or "")
    yield from all_cidr_warnings("spec.loadBalancerSourceRanges", spec.load_balancer_source_ranges)
    if spec.type == "ExternalName" and spec.external_ips:
        yield 'spec.externalIPs is ignored when spec.type is "ExternalName"'
    if spec.type != "ExternalName" and spec.external_name:
        yield 'spec.externalName is ignored when spec.type is not "ExternalName"'
    if spec.traffic_distribution == "PreferClose":
        yield 'spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"'


def status_warnings(service: Service, old: Service) -> Iterator[str]:
    balancer = service.status.load_balancer
    for index, entry in enumerate((balancer.ingress or ()) if balancer is not None else ()):
        yield from ip_warnings(f"status.loadBalancer.ingress[{index}]", entry.ip or "")
