"""What an update of a Service keeps: the addresses and ports that were given to it, unless it changes its type."""

from collections.abc import Iterator
from typing import Any

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.registry.parts import changed


def carry_over(service: Service, old: Service) -> Service:
    """A client that leaves out what was allocated means to keep it; one that changes the type gives it back."""
    new, before = service.spec, old.spec
    changes: dict[str, Any] = {}
    if new.type == "ExternalName":
        changes.update(given_back(new, before))
    elif before.type != "ExternalName":
        changes.update(kept_addresses(new, before))
    changes.update(outlived(new, before))
    ports = carried_ports(new, before)
    if ports != new.ports:
        changes["ports"] = ports
    if not new.health_check_node_port and before.health_check_node_port and needs_health_check(new):
        changes["health_check_node_port"] = before.health_check_node_port
    return changed(service, spec=changed(new, **changes)) if changes else service


def kept_addresses(new: ServiceSpec, before: ServiceSpec) -> Iterator[tuple[str, Any]]:
    if not new.cluster_ip and not new.cluster_ips:
        yield "cluster_ip", before.cluster_ip
        yield "cluster_ips", before.cluster_ips
    elif not new.cluster_ips or (new.cluster_ip != before.cluster_ip and new.cluster_ips == before.cluster_ips):
        kept = new.cluster_ip == before.cluster_ip
        yield "cluster_ips", before.cluster_ips if kept else (new.cluster_ip,)
    elif not new.cluster_ip:
        yield "cluster_ip", new.cluster_ips[0]
    if not new.ip_families:
        yield "ip_families", before.ip_families
    if not new.ip_family_policy:
        yield "ip_family_policy", before.ip_family_policy


def given_back(new: ServiceSpec, before: ServiceSpec) -> Iterator[tuple[str, Any]]:
    if before.type == "ExternalName":
        return
    for name in ("cluster_ip", "cluster_ips", "ip_families", "ip_family_policy", "internal_traffic_policy"):
        if getattr(new, name) == getattr(before, name):
            yield name, None


def outlived(new: ServiceSpec, before: ServiceSpec) -> Iterator[tuple[str, Any]]:
    """What only the old type needed, and the client has merely sent back."""
    gone: list[str] = []
    if is_external(before) and not is_external(new):
        gone.append("external_traffic_policy")
    if before.type == "LoadBalancer" and new.type != "LoadBalancer":
        gone += ["allocate_load_balancer_node_ports", "load_balancer_class"]
    if needs_health_check(before) and not needs_health_check(new):
        gone.append("health_check_node_port")
    for name in gone:
        if getattr(new, name) is not None and getattr(new, name) == getattr(before, name):
            yield name, None


def is_external(spec: ServiceSpec) -> bool:
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.external_ips))


def carried_ports(new: ServiceSpec, before: ServiceSpec) -> tuple[ServicePort, ...] | None:
    ports = new.ports
    if not ports or not before.ports:
        return ports
    if needs_node_ports(new):
        known = {(port.protocol, port.port): port.node_port for port in before.ports if port.node_port}
        taken = {port.node_port for port in ports if port.node_port}
        return tuple(with_node_port(port, known, taken) for port in ports)
    if needs_node_ports(before) and [p.node_port for p in ports] == [p.node_port for p in before.ports]:
        return tuple(changed(port, node_port=None) if port.node_port else port for port in ports)
    return ports


def with_node_port(port: ServicePort, known: dict[tuple[str | None, int], int], taken: set[int]) -> ServicePort:
    number = known.get((port.protocol, port.port))
    if port.node_port or not number or number in taken:
        return port
    return changed(port, node_port=number)


def needs_node_ports(spec: ServiceSpec) -> bool:
    return spec.type == "NodePort" or (
        spec.type == "LoadBalancer" and spec.allocate_load_balancer_node_ports is not False
    )


def needs_health_check(spec: ServiceSpec) -> bool:
    return spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"


SECOND_RELEASED = "must be set to 'SingleStack' when releasing the secondary"


def validate_kept(new: ServiceSpec, old: ServiceSpec) -> Iterator[FieldError]:
    """The first address and its family stay for as long as a Service has one; a second may come, and go if asked."""
    if "ExternalName" not in (new.type, old.type):
        was, now = is_headless(old), is_headless(new)
        if not (was and now):
            yield from validate_first_kept(new, old, new.cluster_ips or (), old.cluster_ips or (), "clusterIP")
        if not was and not now:
            yield from validate_first_kept(new, old, new.ip_families or (), old.ip_families or (), "ipFamily")
    both = new.type == old.type == "LoadBalancer"
    if both and new.load_balancer_class != old.load_balancer_class:
        yield invalid_value("spec.loadBalancerClass", new.load_balancer_class, "may not change once set")
    if needs_health_check(old) and needs_health_check(new) and new.health_check_node_port != old.health_check_node_port:
        yield forbidden_field("spec.healthCheckNodePort", "field is immutable")


def is_headless(spec: ServiceSpec) -> bool:
    return spec.cluster_ips == ("None",)


def validate_first_kept(
    new: ServiceSpec, old: ServiceSpec, now: tuple[str, ...], before: tuple[str, ...], one: str
) -> Iterator[FieldError]:
    field = {"clusterIP": "clusterIPs", "ipFamily": "ipFamilies"}[one]
    if len(now) == len(before):
        for index, (value, kept) in enumerate(zip(now, before, strict=True)):
            if value != kept:
                place = index if one == "clusterIP" else 0
                yield invalid_value(f"spec.{field}[{place}]", now, "may not change once set")
        return
    if before and not now:
        yield invalid_value(f"spec.{field}[0]", now, f"primary {one} can not be unset")
    elif before and now[0] != before[0]:
        yield invalid_value(f"spec.{field}[0]", now, "may not change once set")
    if len(before) > len(now) == 1 and new.ip_family_policy != "SingleStack":
        yield invalid_value("spec.ipFamilyPolicy", new.ip_family_policy, f"{SECOND_RELEASED} {one}")
