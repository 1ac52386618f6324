"""Services and their endpoints as DNS records, by the Kubernetes DNS specification 1.1.0.

    <service>.<ns>.svc.<zone>                    A/AAAA   the cluster IP; of a headless service every ready endpoint
    <hostname>.<service>.<ns>.svc.<zone>         A/AAAA   one endpoint of a headless service
    _<port>._<protocol>.<service>.<ns>.svc.<zone> SRV      one per port; of a headless service one per endpoint too
    <service>.<ns>.svc.<zone>                    CNAME    of an ExternalName service
    <a-b-c-d>.<ns>.pod.<zone>                    A/AAAA   computed from the name alone
    <reversed>.in-addr.arpa, .ip6.arpa           PTR      of a cluster IP or a headless endpoint

`service_records` is a pure function of one service and its slices; `Zone` holds all of them in one dictionary.
"""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import Endpoint, EndpointSlice
from kybern.network.dns.message import Record, Type, address_record, name_record, soa_record, srv_record, txt_record

TTL_SECONDS = 5  # a changed endpoint is seen this soon; answers cost microseconds, so there is no reason for longer
SPECIFICATION = b"1.1.0"


def service_records(service: Service, slices: Sequence[EndpointSlice], zone: bytes) -> Iterator[Record]:
    """Every record of one service, forward and reverse."""
    base = service_name(service, zone)
    spec = service.spec
    if spec.type == "ExternalName":
        if spec.external_name:
            target = spec.external_name.rstrip(".").lower().encode("idna")
            yield name_record(base, Type.CNAME, target, TTL_SECONDS)
    elif spec.cluster_ip == "None":
        yield from headless_records(service, slices, base)
    else:
        yield from cluster_ip_records(service, base)


def service_name(service: Service, zone: bytes) -> bytes:
    return f"{service.metadata.name}.{service.metadata.namespace}.svc.".encode() + zone


def cluster_ip_records(service: Service, base: bytes) -> Iterator[Record]:
    addresses = service.spec.cluster_ips or ((service.spec.cluster_ip,) if service.spec.cluster_ip else ())
    for address in addresses:
        yield address_record(base, address, TTL_SECONDS)
        yield name_record(reverse_name(address), Type.PTR, base, TTL_SECONDS)
    for port in service.spec.ports or ():
        if port.name and addresses:
            name = srv_name(port.name, port.protocol or "TCP", base)
            yield srv_record(name, port.port, base, TTL_SECONDS)


def headless_records(service: Service, slices: Sequence[EndpointSlice], base: bytes) -> Iterator[Record]:
    """One set of records per endpoint; an endpoint in several slices is named once."""
    found: dict[Record, None] = {}
    for piece in slices:
        for endpoint in piece.endpoints or ():
            if not is_published(service, endpoint):
                continue
            for address in endpoint.addresses:
                target = f"{endpoint.hostname or dashed(address)}.".encode() + base
                found[address_record(base, address, TTL_SECONDS)] = None
                found[address_record(target, address, TTL_SECONDS)] = None
                found[name_record(reverse_name(address), Type.PTR, target, TTL_SECONDS)] = None
                for port in piece.ports or ():
                    if port.name and port.port:
                        name = srv_name(port.name, port.protocol or "TCP", base)
                        found[srv_record(name, port.port, target, TTL_SECONDS)] = None
    yield from found


def is_published(service: Service, endpoint: Endpoint) -> bool:
    ready = endpoint.conditions is None or endpoint.conditions.ready is not False
    return ready or bool(service.spec.publish_not_ready_addresses)


def srv_name(port: str, protocol: str, base: bytes) -> bytes:
    return f"_{port}._{protocol.lower()}.".encode() + base


def dashed(address: str) -> str:
    return address.replace(".", "-").replace(":", "-")


def reverse_name(address: str) -> bytes:
    return ipaddress.ip_address(address).reverse_pointer.encode()


def pod_address(label: bytes) -> str | None:
    """`10-244-0-5` to `10.244.0.5`; None where the label is no dashed address."""
    text = label.decode("ascii", "replace")
    for separator in (".", ":"):
        try:
            return str(ipaddress.ip_address(text.replace("-", separator)))
        except ValueError:
            continue
    return None


@dataclass(slots=True)
class Zone:
    """All records of a cluster by name, changed one service at a time.

    A name that only lies above others (`svc.cluster.local`) exists without records: asked for, it answers that it has
    none (NODATA), not that there is no such name (RFC 8020).
    """

    name: bytes
    records: dict[bytes, list[Record]] = field(default_factory=dict)
    above: Counter[bytes] = field(default_factory=Counter)
    """Names with something below them."""
    of_service: dict[tuple[str, str], tuple[Record, ...]] = field(default_factory=dict)
    serial: int = 0

    def __post_init__(self) -> None:
        self._add(txt_record(b"dns-version." + self.name, SPECIFICATION, TTL_SECONDS))
        for branch in (b"svc.", b"pod."):
            self.above[branch + self.name] += 1

    def replace(self, namespace: str, service: str, records: Iterable[Record]) -> None:
        """All that is known of a service; no records when it is gone."""
        key = (namespace, service)
        for record in self.of_service.pop(key, ()):
            self._remove(record)
        new = tuple(records)
        if new:
            self.of_service[key] = new
        for record in new:
            self._add(record)
        self.serial += 1

    def _add(self, record: Record) -> None:
        self.records.setdefault(record.name, []).append(record)
        self.above.update(ancestors(record.name))

    def _remove(self, record: Record) -> None:
        of_name = self.records[record.name]
        of_name.remove(record)
        if not of_name:
            del self.records[record.name]
        for name in ancestors(record.name):
            self.above[name] -= 1
            if self.above[name] <= 0:
                del self.above[name]

    def holds(self, name: bytes) -> bool:
        """Whether the name is ours to answer: below the zone, or the reverse of an address we know."""
        return name == self.name or name.endswith(b"." + self.name) or name in self.records

    def find(self, name: bytes, kind: int) -> list[Record] | None:
        """The records of a name and type, CNAMEs followed within the zone; None when there is no such name."""
        of_name = self.records.get(name)
        if of_name is None:
            return self._computed(name, kind)
        found = [record for record in of_name if record.type == kind or kind == Type.ANY]
        if not found and of_name[0].type == Type.CNAME:
            return [of_name[0], *self._followed(of_name[0], kind)]
        return found

    def _followed(self, alias: Record, kind: int) -> list[Record]:
        target = target_name(alias)
        return [record for record in self.records.get(target, ()) if record.type == kind]

    def _computed(self, name: bytes, kind: int) -> list[Record] | None:
        """Pod names, which need no record; and names that merely have others below them."""
        label, _, rest = name.partition(b".")
        if rest.endswith(b".pod." + self.name) and (address := pod_address(label)):
            record = address_record(name, address, TTL_SECONDS)
            return [record] if kind in (record.type, Type.ANY) else []
        return [] if name == self.name or name in self.above else None

    def authority(self) -> Record:
        return soa_record(self.name, TTL_SECONDS, self.serial)


def ancestors(name: bytes) -> Iterator[bytes]:
    _, _, name = name.partition(b".")
    while name:
        yield name
        _, _, name = name.partition(b".")


def target_name(alias: Record) -> bytes:
    labels, data = [], alias.data
    while data[0]:
        labels.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return b".".join(labels)
