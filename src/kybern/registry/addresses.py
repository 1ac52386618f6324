"""ipaddresses and servicecidrs: the addresses of Services, one object each, and where they come from."""

from collections.abc import Iterator
from ipaddress import ip_address

from kybern.api import names
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.api.networking_v1 import IPAddress, ServiceCIDR
from kybern.registry.checks import immutable, judged, named
from kybern.registry.columns import AGE, NAME
from kybern.registry.parts import clear_status, keep_status, kind_of, status
from kybern.registry.resource import Column, Resource

ONE_OF_EACH = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"


def validate_address(address: IPAddress) -> Iterator[FieldError]:
    ref = address.spec.parent_ref
    yield from judged("spec.parentRef.group", ref.group, names.dns1123_subdomain)
    yield from named("spec.parentRef.resource", ref.resource, names.path_segment)
    yield from named("spec.parentRef.name", ref.name, names.path_segment)
    yield from judged("spec.parentRef.namespace", ref.namespace, names.path_segment)


def address_name(name: str) -> tuple[str, ...]:
    """An address, in the one way to write it: names are compared as texts."""
    wrong = names.ip(name)
    if wrong:
        return wrong
    address = ip_address(name)
    if address.version == 6 and address.ipv4_mapped is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return () if str(address) == name else (f'must be in canonical form ("{address}")',)


def validate_address_update(address: IPAddress, old: IPAddress) -> Iterator[FieldError]:
    yield from immutable("spec.parentRef", address.spec.parent_ref, old.spec.parent_ref)


def parent_cell(address: IPAddress, now: float) -> str:
    ref = address.spec.parent_ref
    resource = f"{ref.resource}.{ref.group}" if ref.group else ref.resource
    return "/".join(part for part in (resource, ref.namespace, ref.name) if part)


IP_ADDRESSES = Resource(
    kind=kind_of(IPAddress),
    short_names=("ip",),
    validate=validate_address,
    validate_update=validate_address_update,
    validate_name=address_name,
    columns=(NAME, Column("ParentRef", parent_cell, of="networking_v1.IPAddressSpec.parentRef")),
)


def validate_cidrs(found: ServiceCIDR) -> Iterator[FieldError]:
    blocks = found.spec.cidrs or ()
    if not blocks:
        yield required("spec.cidrs", "at least one CIDR required")
        return
    if len(blocks) > 2:
        yield invalid_value("spec.cidrs", found.spec, "may only hold up to 2 values")
        return
    wrong = False
    for index, block in enumerate(blocks):
        for text in names.cidr(block):
            wrong = True
            yield invalid_value(f"spec.cidrs[{index}]", block, text)
    if len(blocks) == 2 and not wrong and (":" in blocks[0]) == (":" in blocks[1]):
        yield invalid_value("spec.cidrs", blocks, ONE_OF_EACH)


def validate_cidrs_update(found: ServiceCIDR, old: ServiceCIDR) -> Iterator[FieldError]:
    """A second family may be added, and nothing else changed."""
    new, before = found.spec.cidrs or (), old.spec.cidrs or ()
    if len(new) != len(before) and (len(before), len(new)) != (1, 2):
        yield from immutable("spec.cidrs", new, before)
        return
    for index, (block, known) in enumerate(zip(new, before, strict=False)):
        yield from immutable(f"spec.cidrs[{index}]", block, known)
    if len(new) > len(before):
        yield from validate_cidrs(found)


SERVICE_CIDRS = Resource(
    kind=kind_of(ServiceCIDR),
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_cidrs,
    validate_update=validate_cidrs_update,
    subresources=(status(),),
    columns=(
        NAME,
        Column("CIDRs", lambda found, now: ",".join(found.spec.cidrs or ()), of="networking_v1.ServiceCIDRSpec.cidrs"),
        AGE,
    ),
)
