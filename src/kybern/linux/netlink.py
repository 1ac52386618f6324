"""Links, addresses, routes and neighbours of a network namespace, over rtnetlink.

    with Netlink("/run/kybern/netns/x") as inside:
        inside.ensure_address(inside.index("eth0"), "10.244.0.5/24")

Each call is one request and its acknowledgement (some 30 µs). OSError carries the kernel's reason. What already is as
wanted is not an error where the name begins with `ensure`; deleting what is gone never is.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from types import TracebackType
from typing import Self

from kybern.linux import netlink_messages as m
from kybern.linux import netns

RECEIVE_BYTES = 1 << 17
GONE = (errno.ENODEV, errno.ENXIO, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)


class Netlink:
    def __init__(self, netns_path: str | None = None) -> None:
        with netns.inside(netns_path):
            self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self.socket.bind((0, 0))
        self.sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    # Links

    def links(self) -> list[m.Link]:
        return [m.parse_link(payload) for payload in self._dump(m.GETLINK, m.link_part())]

    def link(self, name: str) -> m.Link | None:
        try:
            [payload] = self._exchange(m.GETLINK, 0, m.link_part() + m.attribute(m.IFLA_IFNAME, name))
        except OSError as error:
            if error.errno in GONE:
                return None
            raise
        return m.parse_link(payload)

    def index(self, name: str) -> int:
        found = self.link(name)
        if found is None:
            raise OSError(errno.ENODEV, "no such link", name)
        return found.index

    def ensure_bridge(self, name: str, mac: str = "") -> int:
        address = m.attribute(m.IFLA_ADDRESS, m.packed_mac(mac)) if mac else b""
        return self._ensure_link(name, "bridge", extra=address)

    def ensure_vxlan(self, name: str, number: int, local: str, port: int = 8472, *, mac: str = "", mtu: int = 0) -> int:
        """Without learning: who is where is said by `set_neighbour` and `set_forwarding`."""
        local_kind = m.IFLA_VXLAN_LOCAL6 if ":" in local else m.IFLA_VXLAN_LOCAL
        data = (
            m.attribute(m.IFLA_VXLAN_ID, number),
            m.attribute(local_kind, ip_address(local).packed),
            m.attribute(m.IFLA_VXLAN_LEARNING, b"\0"),
            m.attribute(m.IFLA_VXLAN_PORT, struct.pack("!H", port)),
        )
        address = m.attribute(m.IFLA_ADDRESS, m.packed_mac(mac)) if mac else b""
        size = m.attribute(m.IFLA_MTU, mtu) if mtu else b""
        return self._ensure_link(name, "vxlan", *data, extra=address + size)

    def add_veth(
        self, name: str, peer: str, peer_netns_path: str | None = None, *, mtu: int = 0, peer_mac: str = ""
    ) -> None:
        """A pair: `name` here, `peer` here or in another namespace."""
        size = m.attribute(m.IFLA_MTU, mtu) if mtu else b""
        address = m.attribute(m.IFLA_ADDRESS, m.packed_mac(peer_mac)) if peer_mac else b""
        other = m.link_part() + m.attribute(m.IFLA_IFNAME, peer) + size + address
        descriptor = -1
        if peer_netns_path is not None:
            descriptor = os.open(peer_netns_path, os.O_RDONLY | os.O_CLOEXEC)
            other += m.attribute(m.IFLA_NET_NS_FD, descriptor)
        try:
            self._add_link(name, "veth", m.attribute(m.VETH_INFO_PEER, other), extra=size)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def delete_link(self, name: str) -> None:
        self._forgiving(m.DELLINK, m.link_part() + m.attribute(m.IFLA_IFNAME, name))

    def set_up(self, index: int, *, up: bool = True) -> None:
        self._exchange(m.NEWLINK, 0, m.link_part(index, m.IFF_UP if up else 0, m.IFF_UP))

    def set_master(self, index: int, master: int) -> None:
        """0 takes the link out of its bridge."""
        self._exchange(m.NEWLINK, 0, m.link_part(index) + m.attribute(m.IFLA_MASTER, master))

    def set_hairpin(self, index: int, *, on: bool = True) -> None:
        """Let a bridge send a frame back through the port it came from: a pod reaching itself by its Service."""
        data = m.attribute(m.IFLA_BRPORT_MODE, bytes([on]))
        slave = m.attribute(m.IFLA_INFO_SLAVE_KIND, b"bridge") + m.nested(m.IFLA_INFO_SLAVE_DATA, data)
        self._exchange(m.NEWLINK, 0, m.link_part(index) + m.nested(m.IFLA_LINKINFO, slave))

    def rename(self, index: int, name: str) -> None:
        self._exchange(m.NEWLINK, 0, m.link_part(index) + m.attribute(m.IFLA_IFNAME, name))

    def move(self, index: int, netns_path: str) -> None:
        """Into another namespace, where it may get another index."""
        descriptor = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._exchange(m.NEWLINK, 0, m.link_part(index) + m.attribute(m.IFLA_NET_NS_FD, descriptor))
        finally:
            os.close(descriptor)

    # Addresses, routes, neighbours

    def addresses(self) -> list[m.Address]:
        return [m.parse_address(payload) for payload in self._dump(m.GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0))]

    def ensure_address(self, index: int, cidr: str) -> None:
        self._exchange(m.NEWADDR, m.F_CREATE | m.F_REPLACE, m.address_part(index, cidr))

    def delete_address(self, index: int, cidr: str) -> None:
        self._forgiving(m.DELADDR, m.address_part(index, cidr))

    def routes(self) -> list[m.Route]:
        """Of the main table."""
        fixed = struct.pack("=BBBBBBBBI", 0, 0, 0, 0, 0, 0, 0, 0, 0)
        return [m.parse_route(payload) for payload in self._dump(m.GETROUTE, fixed) if payload[4] == 254]

    def ensure_route(self, destination: str, *, index: int = 0, gateway: str = "", onlink: bool = False) -> None:
        """`0.0.0.0/0` is the default route. `onlink`: the gateway is there, whatever other routes say."""
        part = m.route_part(destination, index, gateway, onlink=onlink)
        self._exchange(m.NEWROUTE, m.F_CREATE | m.F_REPLACE, part)

    def delete_route(self, destination: str, *, index: int = 0, gateway: str = "") -> None:
        self._forgiving(m.DELROUTE, m.route_part(destination, index, gateway))

    def set_neighbour(self, index: int, mac: str, address: str) -> None:
        """Who answers for an IP address (ARP, NDP)."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        part = m.neighbour_part(index, mac, address, family=family, flags=0)
        self._exchange(m.NEWNEIGH, m.F_CREATE | m.F_REPLACE, part)

    def delete_neighbour(self, index: int, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._forgiving(m.DELNEIGH, m.neighbour_part(index, "", address, family=family, flags=0))

    def set_forwarding(self, index: int, mac: str, remote: str) -> None:
        """Which machine is behind a MAC address on a VXLAN link."""
        part = m.neighbour_part(index, mac, remote, family=socket.AF_BRIDGE, flags=m.NTF_SELF)
        self._exchange(m.NEWNEIGH, m.F_CREATE | m.F_REPLACE, part)

    # The protocol

    def request(self, kind: int, flags: int, body: bytes) -> None:
        """One that is put together elsewhere."""
        self._exchange(kind, flags, body)

    def _ensure_link(self, name: str, kind: str, *data: bytes, extra: bytes = b"") -> int:
        found = self.link(name)
        if found is None:
            self._add_link(name, kind, *data, extra=extra)
            return self.index(name)
        if found.kind != kind:
            raise OSError(errno.EEXIST, f"exists and is no {kind}", name)
        return found.index

    def _add_link(self, name: str, kind: str, *data: bytes, extra: bytes = b"") -> None:
        information = m.attribute(m.IFLA_INFO_KIND, kind.encode()) + (
            m.nested(m.IFLA_INFO_DATA, *data) if data else b""
        )
        body = m.link_part() + m.attribute(m.IFLA_IFNAME, name) + extra + m.nested(m.IFLA_LINKINFO, information)
        self._exchange(m.NEWLINK, m.F_CREATE | m.F_EXCL, body, about=name)

    def _forgiving(self, kind: int, body: bytes) -> None:
        try:
            self._exchange(kind, 0, body)
        except OSError as error:
            if error.errno not in GONE:
                raise

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        return self._exchange(kind, m.F_DUMP, body)

    def _exchange(self, kind: int, flags: int, body: bytes, about: str = "netlink") -> list[bytes]:
        """What the kernel answers, up to its acknowledgement."""
        self.sequence += 1
        request = m.F_REQUEST | flags | (0 if flags & m.F_DUMP == m.F_DUMP else m.F_ACK)
        header = struct.pack("=IHHII", 16 + len(body), kind, request, self.sequence, 0)
        self.socket.send(header + body)
        answers: list[bytes] = []
        while True:
            for answered, sequence, payload in messages(self.socket.recv(RECEIVE_BYTES)):
                if sequence != self.sequence:
                    continue
                if answered == m.NLMSG_DONE:
                    return answers
                if answered == m.NLMSG_ERROR:
                    [number] = struct.unpack_from("=i", payload)
                    if number:
                        raise OSError(-number, os.strerror(-number), about)
                    return answers
                answers.append(payload)


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while len(data) >= 16:
        length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
        if length < 16:
            return
        yield kind, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]
