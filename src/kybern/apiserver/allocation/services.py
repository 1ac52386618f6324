"""Service addresses and node ports: chosen, claimed and given back with the write that asks for them.

- A Service that needs an address gets one from the service network, or the very one it asks for; the same for ports.
- An update that leaves them out keeps them; a change of type gives up what the new type does not need
  (`registry.service_changes`).
- One address family: a Service that insists on another is refused.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from random import Random

from msgspec.structs import replace

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.errors import About, InternalError, Invalid, invalid
from kybern.api.invalid import FieldError, invalid_value
from kybern.apiserver.allocation.pool import Exhausted, Owner, Pool, Taken
from kybern.apiserver.allocation.ranges import NODE_PORTS, addresses, node_ports
from kybern.apiserver.request import Admission, Objects
from kybern.registry.service_changes import carry_over, needs_health_check, needs_node_ports

HEADLESS = "None"
FAMILY = "IPv4"


class ServiceAllocation:
    """An admission plugin that sets values aside; see `request.ReservingPlugin`."""

    name = "ServiceAllocation"

    def __init__(self, objects: Objects, network: IPv4Network, rng: Random, ports: range = NODE_PORTS) -> None:
        self.network, self.ports = network, ports
        self.addresses: Pool[str] = Pool(lambda: addresses(network, rng))
        self.node_ports: Pool[int] = Pool(lambda: node_ports(ports, rng))
        objects.on_change(Service, self.changed)
        for service in objects.list(Service):
            self.changed(None, service)

    def changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is None:
            return
        owner = owner_of(service)
        self.addresses.changed(owner, addresses_of(old), addresses_of(new))
        self.node_ports.changed(owner, node_ports_of(old), node_ports_of(new))

    async def admit(self, admission: Admission) -> None:
        if admission.resource.kind.type is not Service or admission.subresource:
            return
        if admission.operation not in ("CREATE", "UPDATE") or admission.object is None:
            return
        service, old = admission.object, admission.old
        owner = (admission.namespace, admission.name or service.metadata.name or "")
        reservation = id(admission)
        service = carry_over(service, old) if old is not None else service
        spec = with_one_name_for_addresses(service.spec)
        errors = list(wrong_families(spec))
        if not errors:
            spec = self.with_address(spec, old.spec if old else None, owner, reservation, errors)
            spec = self.with_node_ports(spec, owner, reservation, errors)
        if errors:
            raise refused(service, errors)
        admission.object = replace(service, spec=spec)

    async def validate(self, admission: Admission) -> None:
        return

    def committed(self, admission: Admission) -> None:
        self.abandoned(admission)  # what is stored is held by now

    def abandoned(self, admission: Admission) -> None:
        self.addresses.give_back(id(admission))
        self.node_ports.give_back(id(admission))

    def with_address(
        self, spec: ServiceSpec, old: ServiceSpec | None, owner: Owner, reservation: int, errors: list[FieldError]
    ) -> ServiceSpec:
        if not needs_address(spec):
            return spec
        spec = replace(
            spec, ip_families=spec.ip_families or (FAMILY,), ip_family_policy=spec.ip_family_policy or "SingleStack"
        )
        if spec.cluster_ip == HEADLESS or (old is not None and needs_address(old) and old.cluster_ip):
            return spec  # an address that is there already cannot change; validation sees to that
        if not spec.cluster_ip:
            try:
                address = self.addresses.take_any(reservation)
            except Exhausted:
                raise InternalError("Internal error occurred: failed to allocate a serviceIP: range is full") from None
            return replace(spec, cluster_ip=address, cluster_ips=(address,))
        wrong = self.claim_address(spec.cluster_ip, owner, reservation)
        if wrong:
            detail = f"failed to allocate IP {spec.cluster_ip}: {wrong}"
            errors.append(invalid_value("spec.clusterIPs", list(spec.cluster_ips or ()), detail))
        return spec

    def claim_address(self, address: str, owner: Owner, reservation: int) -> str:
        """What is wrong with it; empty where it could be claimed. A text that is no address is validation's to refuse."""
        try:
            number = IPv4Address(address)
        except ValueError:
            return ""
        first, last = self.network.network_address, self.network.broadcast_address
        if not first < number < last:
            return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self.network}"
        try:
            self.addresses.take(str(number), owner, reservation)
        except Taken:
            return "provided IP is already allocated"
        return ""

    def with_node_ports(
        self, spec: ServiceSpec, owner: Owner, reservation: int, errors: list[FieldError]
    ) -> ServiceSpec:
        if needs_node_ports(spec):
            ports = self.ports_with_node_ports(spec.ports or (), owner, reservation, errors)
            spec = replace(spec, ports=ports)
        if needs_health_check(spec):
            if not spec.health_check_node_port:
                return replace(spec, health_check_node_port=self.any_node_port(reservation))
            at = "spec.healthCheckNodePort"
            errors += self.claim_port(at, spec.health_check_node_port, owner, reservation)
        return spec

    def ports_with_node_ports(
        self, ports: tuple[ServicePort, ...], owner: Owner, reservation: int, errors: list[FieldError]
    ) -> tuple[ServicePort, ...]:
        given = {port.port: port.node_port for port in ports if port.node_port}
        done: list[ServicePort] = []
        for index, port in enumerate(ports):
            if port.node_port:
                at = f"spec.ports[{index}].nodePort"
                errors += self.claim_port(at, port.node_port, owner, reservation)
            else:
                # One port number under two protocols is one node port, where that is free to choose.
                used = {(other.protocol, other.node_port) for other in (*ports, *done)}
                number = given.get(port.port, 0)
                if not number or (port.protocol, number) in used:
                    number = self.any_node_port(reservation)
                given.setdefault(port.port, number)
                port = replace(port, node_port=number)
            done.append(port)
        return tuple(done)

    def any_node_port(self, reservation: int) -> int:
        try:
            return self.node_ports.take_any(reservation)
        except Exhausted:
            raise InternalError("Internal error occurred: failed to allocate a nodePort: range is full") from None

    def claim_port(self, at: str, number: int, owner: Owner, reservation: int) -> Iterator[FieldError]:
        if number not in self.ports:
            valid = f"{self.ports.start}-{self.ports.stop - 1}"
            yield invalid_value(
                at, number, f"provided port is not in the valid range. The range of valid ports is {valid}"
            )
            return
        try:
            self.node_ports.take(number, owner, reservation)
        except Taken:
            yield invalid_value(at, number, "provided port is already allocated")


def owner_of(service: Service) -> Owner:
    return (service.metadata.namespace or "", service.metadata.name or "")


def addresses_of(service: Service | None) -> list[str]:
    address = service.spec.cluster_ip if service and needs_address(service.spec) else None
    return [address] if address and address != HEADLESS else []


def node_ports_of(service: Service | None) -> set[int]:
    if service is None:
        return set()
    ports = {port.node_port for port in service.spec.ports or () if port.node_port}
    return ports | ({service.spec.health_check_node_port} if service.spec.health_check_node_port else set())


def needs_address(spec: ServiceSpec) -> bool:
    return spec.type != "ExternalName"


def with_one_name_for_addresses(spec: ServiceSpec) -> ServiceSpec:
    """`clusterIP` and `clusterIPs` say the same; whoever gave one meant both."""
    if spec.cluster_ip and not spec.cluster_ips:
        return replace(spec, cluster_ips=(spec.cluster_ip,))
    if spec.cluster_ips and not spec.cluster_ip:
        return replace(spec, cluster_ip=spec.cluster_ips[0])
    return spec


def wrong_families(spec: ServiceSpec) -> Iterator[FieldError]:
    if not needs_address(spec):
        return
    if spec.ip_family_policy == "RequireDualStack":
        detail = "this cluster is not configured for dual-stack services"
        yield invalid_value("spec.ipFamilyPolicy", spec.ip_family_policy, detail)
    for index, family in enumerate(spec.ip_families or ()):
        if family == "IPv6":
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")


def refused(service: Service, errors: list[FieldError]) -> Invalid:
    about = About(resource="services", kind="Service", name=service.metadata.name or "")
    return invalid(about, errors)
