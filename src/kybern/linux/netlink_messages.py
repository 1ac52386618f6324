"""rtnetlink messages as bytes (rtnetlink(7)): a header, a fixed part, then attributes that may nest."""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network

NLMSG_ERROR, NLMSG_DONE = 2, 3
F_REQUEST, F_ACK, F_EXCL, F_CREATE, F_REPLACE, F_DUMP, F_APPEND = 0x1, 0x4, 0x200, 0x400, 0x100, 0x300, 0x800

NEWLINK, DELLINK, GETLINK, SETLINK = 16, 17, 18, 19
NEWADDR, DELADDR, GETADDR = 20, 21, 22
NEWROUTE, DELROUTE, GETROUTE = 24, 25, 26
NEWNEIGH, DELNEIGH = 28, 29

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_NET_NS_FD, IFLA_TXQLEN = 28, 13
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
VETH_INFO_PEER = 1
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33
IFLA_VXLAN_ID, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 1, 4, 7, 15, 17
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 2
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
NDA_DST, NDA_LLADDR = 1, 2
RTNH_F_ONLINK = 4
NTF_SELF, NUD_PERMANENT = 0x02, 0x80

IFF_UP = 0x1
NESTED = 0x8000


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    up: bool
    address: str
    master: int
    kind: str
    mtu: int


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    address: str
    """With its prefix length: `10.244.0.1/24`."""


@dataclass(frozen=True, slots=True)
class Route:
    destination: str
    """`0.0.0.0/0` for the default route."""
    gateway: str
    index: int


def attribute(kind: int, value: bytes | str | int) -> bytes:
    if isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("=I", value)
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(inner))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[(length + 3) & ~3 :]


def link_part(index: int = 0, flags: int = 0, mask: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, mask)


def address_part(index: int, cidr: str) -> bytes:
    interface = ip_interface(cidr)
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    flags = IFA_F_NODAD if interface.version == 6 else 0  # it is ours to give: nobody needs to be asked
    fixed = struct.pack("=BBBBI", family, interface.network.prefixlen, flags, 0, index)
    return fixed + attribute(IFA_LOCAL, interface.ip.packed) + attribute(IFA_ADDRESS, interface.ip.packed)


def route_part(destination: str, index: int, gateway: str, *, onlink: bool = False) -> bytes:
    network = ip_network(destination)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    scope = 0 if gateway else 253  # universe, or link for what is reached directly
    fixed = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, 254, 3, scope, 1, RTNH_F_ONLINK if onlink else 0)
    parts = [fixed]
    if network.prefixlen:
        parts.append(attribute(RTA_DST, network.network_address.packed))
    if gateway:
        parts.append(attribute(RTA_GATEWAY, ip_address(gateway).packed))
    if index:
        parts.append(attribute(RTA_OIF, index))
    return b"".join(parts)


def neighbour_part(index: int, mac: str, address: str, *, family: int, flags: int) -> bytes:
    fixed = struct.pack("=BxxxiHBB", family, index, NUD_PERMANENT, flags, 0)
    link_address = attribute(NDA_LLADDR, packed_mac(mac)) if mac else b""
    return fixed + attribute(NDA_DST, ip_address(address).packed) + link_address


def packed_mac(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def parse_link(payload: bytes) -> Link:
    _, _, index, flags, _ = struct.unpack_from("=BxHiII", payload)
    found = dict(attributes(payload[16:]))
    information = dict(attributes(found.get(IFLA_LINKINFO, b"")))
    return Link(
        index=index,
        name=found.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        up=bool(flags & IFF_UP),
        address=found.get(IFLA_ADDRESS, b"").hex(":"),
        master=_number(found.get(IFLA_MASTER)),
        kind=information.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(),
        mtu=_number(found.get(IFLA_MTU)),
    )


def parse_address(payload: bytes) -> Address:
    _, prefix, _, _, index = struct.unpack_from("=BBBBI", payload)
    found = dict(attributes(payload[8:]))
    packed = found.get(IFA_LOCAL) or found[IFA_ADDRESS]
    return Address(index, f"{ip_address(packed)}/{prefix}")


def parse_route(payload: bytes) -> Route:
    family, prefix = struct.unpack_from("=BB", payload)
    found = dict(attributes(payload[12:]))
    anywhere = b"\0" * (4 if family == socket.AF_INET else 16)
    gateway = str(ip_address(found[RTA_GATEWAY])) if RTA_GATEWAY in found else ""
    return Route(f"{ip_address(found.get(RTA_DST, anywhere))}/{prefix}", gateway, _number(found.get(RTA_OIF)))


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", "little")
