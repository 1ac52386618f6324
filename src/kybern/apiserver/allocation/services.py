"""Service addresses and node ports: chosen, claimed and given back with the write that asks for them.

- A Service that needs addresses gets one of each of its families (`families`) from the service networks (`networks`), or
  the very ones it asks for; the same for ports.
- An update that leaves them out keeps them; a change of type gives up what the new type does not need
  (`registry.service_changes`).
- An address that a Service has or is about to get is an IPAddress too (`addresses`).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from random import Random

from msgspec.structs import replace

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.errors import About, InternalError, Invalid, invalid
from kybern.api.invalid import FieldError, invalid_value
from kybern.apiserver.allocation.addresses import UNDER_WAY, AddressObjects
from kybern.apiserver.allocation.families import HEADLESS, family_of, is_settled, with_families
from kybern.apiserver.allocation.networks import ServiceNetworks
from kybern.apiserver.allocation.pool import Exhausted, Owner, Pool, Taken
from kybern.apiserver.allocation.ranges import NODE_PORTS, Network, node_ports
from kybern.apiserver.request import Admission, Objects
from kybern.registry.service_changes import carry_over, needs_health_check, needs_node_ports


class ServiceAllocation:
    """An admission plugin that sets values aside; see `request.ReservingPlugin`. `run()` beside it."""

    name = "ServiceAllocation"
    kinds = (Service,)

    def __init__(self, objects: Objects, networks: Sequence[Network], rng: Random, ports: range = NODE_PORTS) -> None:
        """`networks`: one, or one of each family, the first being that of Services that do not care."""
        self.ports = ports
        self.networks = ServiceNetworks(objects, networks, rng)
        self.address_objects = AddressObjects(objects, self.owner_of)
        self.addresses = {
            family: Pool(partial(self.networks.candidates, family), self.address_objects.is_taken)
            for family in self.networks.families
        }
        self.node_ports: Pool[int] = Pool(lambda: node_ports(ports, rng))
        objects.on_change(Service, self.changed)
        for service in objects.list(Service):
            self.changed(None, service)

    async def run(self) -> None:
        """Keep the IPAddress objects equal to what Services have, until cancelled."""
        await self.address_objects.run()

    def owner_of(self, address: str) -> Owner | None:
        pool = self.addresses.get(family_of(address))
        if pool is None:
            return None
        if address in pool.set_aside:
            return UNDER_WAY
        return min(pool.held.get(address, ()), default=None)

    def changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is None:
            return
        owner = owner_of(service)
        for family, pool in self.addresses.items():
            before, after = addresses_of(old, family), addresses_of(new, family)
            pool.changed(owner, before, after)
            for address in {*before} ^ {*after}:
                self.address_objects.doubt(address)
        self.node_ports.changed(owner, node_ports_of(old), node_ports_of(new))

    async def admit(self, admission: Admission) -> None:
        if not concerns(admission):
            return
        service, old = admission.object, admission.old
        owner, reservation = owner_in(admission), id(admission)
        service = carry_over(service, old) if old is not None else service
        spec = with_one_name_for_addresses(service.spec)
        before = old.spec if old is not None else None
        spec, errors = with_families(spec, before, self.networks.families)
        if not errors and needs_addresses(spec, before):
            spec = self.with_addresses(spec, before, owner, reservation, errors)
        if not errors:
            spec = self.with_node_ports(spec, owner, reservation, errors)
        if errors:
            raise refused(service, errors)
        admission.object = replace(service, spec=spec)

    async def validate(self, admission: Admission) -> None:
        """What is going to be stored has its addresses as objects first."""
        if not concerns(admission) or admission.dry_run:
            return
        for pool in self.addresses.values():
            for address in pool.set_aside_by(id(admission)):
                if not await self.address_objects.claim(address, owner_in(admission)):
                    addresses = list(admission.object.spec.cluster_ips or ())
                    raise refused(admission.object, [not_given(addresses, address, "provided IP is already allocated")])

    def committed(self, admission: Admission) -> None:
        self.settled(admission)  # what is stored is held by now

    def abandoned(self, admission: Admission) -> None:
        for address in self.settled(admission):
            self.address_objects.doubt(address)

    def settled(self, admission: Admission) -> list[str]:
        """The addresses that were set aside for it."""
        self.node_ports.give_back(id(admission))
        return [address for pool in self.addresses.values() for address in pool.give_back(id(admission))]

    def with_addresses(
        self, spec: ServiceSpec, old: ServiceSpec | None, owner: Owner, reservation: int, errors: list[FieldError]
    ) -> ServiceSpec:
        """An address that is there already cannot change, which validation sees to."""
        known = old.cluster_ips or () if old is not None and old.type != "ExternalName" else ()
        addresses = list(spec.cluster_ips or known[: len(spec.ip_families or ())])
        for index, family in enumerate(spec.ip_families or ()):
            if index < len(addresses) and addresses[index]:
                address = addresses[index]
                if index < len(known):
                    continue
                wrong = self.claim_address(address, family, owner, reservation)
                if wrong:
                    errors.append(not_given(list(spec.cluster_ips or ()), address, wrong))
            else:
                addresses[index:] = [self.any_address(family, owner, reservation)]
        return replace(spec, cluster_ip=addresses[0] if addresses else None, cluster_ips=tuple(addresses) or None)

    def any_address(self, family: str, owner: Owner, reservation: int) -> str:
        try:
            return self.addresses[family].take_any(owner, reservation)
        except Exhausted:
            raise InternalError("Internal error occurred: failed to allocate a serviceIP: range is full") from None

    def claim_address(self, address: str, family: str, owner: Owner, reservation: int) -> str:
        """What is wrong with it; empty where it could be claimed. A text that is no address of its family is validation's
        to refuse."""
        if family_of(address) != family or family not in self.addresses:
            return ""
        wrong = self.networks.refusal(address)
        if not wrong:
            try:
                self.addresses[family].take(str(ip_address(address)), owner, reservation)
            except Taken:
                return "provided IP is already allocated"
        return wrong

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
            return self.node_ports.take_any(UNDER_WAY, reservation)
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


def owner_in(admission: Admission) -> Owner:
    return (admission.namespace, admission.name or admission.object.metadata.name or "")


def concerns(admission: Admission) -> bool:
    return (
        admission.resource.kind.type is Service
        and not admission.subresource
        and admission.operation in ("CREATE", "UPDATE")
        and admission.object is not None
    )


def addresses_of(service: Service | None, family: str) -> list[str]:
    if service is None or service.spec.type == "ExternalName":
        return []
    addresses = service.spec.cluster_ips or (service.spec.cluster_ip or HEADLESS,)
    return [str(ip_address(address)) for address in addresses if family_of(address) == family]


def node_ports_of(service: Service | None) -> set[int]:
    if service is None:
        return set()
    ports = {port.node_port for port in service.spec.ports or () if port.node_port}
    return ports | ({service.spec.health_check_node_port} if service.spec.health_check_node_port else set())


def needs_addresses(spec: ServiceSpec, old: ServiceSpec | None) -> bool:
    if spec.type == "ExternalName" or spec.cluster_ip == HEADLESS or (old is not None and old.cluster_ip == HEADLESS):
        return False
    return old is None or not is_settled(spec, old)


def with_one_name_for_addresses(spec: ServiceSpec) -> ServiceSpec:
    """`clusterIP` and `clusterIPs` say the same; whoever gave one meant both."""
    if spec.cluster_ip and not spec.cluster_ips:
        return replace(spec, cluster_ips=(spec.cluster_ip,))
    if spec.cluster_ips and not spec.cluster_ip:
        return replace(spec, cluster_ip=spec.cluster_ips[0])
    return spec


def not_given(addresses: list[str], address: str, why: str) -> FieldError:
    return invalid_value("spec.clusterIPs", addresses, f"failed to allocate IP {address}: {why}")


def refused(service: Service, errors: list[FieldError]) -> Invalid:
    about = About(resource="services", kind="Service", name=service.metadata.name or "")
    return invalid(about, errors)
