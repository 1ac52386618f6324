"""The kernel's table of connections (ctnetlink): UDP flows are listed, and those that are told forgotten."""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from kybern.linux.netlink import messages
from kybern.linux.netlink_messages import F_ACK, F_DUMP, F_REQUEST, NLMSG_DONE, NLMSG_ERROR, attributes, nested

NETLINK_NETFILTER = 12
SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
GET, DELETE = SUBSYSTEM | 1, SUBSYSTEM | 2
TUPLE_ORIG, TUPLE_REPLY = 1, 2
TUPLE_IP, TUPLE_PROTO = 1, 2
V4_SRC, V4_DST, V6_SRC, V6_DST = 1, 2, 3, 4
PROTO_NUM, PROTO_SRC_PORT, PROTO_DST_PORT = 1, 2, 3
RECEIVE_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Flow:
    destination: str
    """What the client sends to."""
    port: int
    answered_by: str
    """Who it is led to."""
    answered_at: int
    original: bytes
    """By which the kernel finds it again."""
    family: int


def forget_udp(is_stale: Callable[[Flow], bool]) -> int:
    """In this thread's network namespace; how many were forgotten."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as kernel:
        kernel.bind((0, 0))
        found = [flow for flow in udp_flows(kernel) if is_stale(flow)]
        for flow in found:
            delete(kernel, flow)
    return len(found)


def udp_flows(kernel: socket.socket) -> Iterator[Flow]:
    for family in (socket.AF_INET, socket.AF_INET6):
        for payload in exchange(kernel, GET, F_DUMP, struct.pack("=BBH", family, 0, 0)):
            flow = parse(payload, family)
            if flow is not None:
                yield flow


def parse(payload: bytes, family: int) -> Flow | None:
    """None for what is not UDP."""
    found = dict(attributes(payload[4:]))
    if TUPLE_ORIG not in found or TUPLE_REPLY not in found:
        return None
    asked, answered = end_points(found[TUPLE_ORIG]), end_points(found[TUPLE_REPLY])
    if asked is None or answered is None:
        return None
    # The answer comes from whom the question was led to: its source is the other end.
    return Flow(asked[2], asked[3], answered[0], answered[1], found[TUPLE_ORIG], family)


def end_points(data: bytes) -> tuple[str, int, str, int] | None:
    """(source, port, destination, port) of a UDP tuple."""
    parts = dict(attributes(data))
    ips, protocol = dict(attributes(parts.get(TUPLE_IP, b""))), dict(attributes(parts.get(TUPLE_PROTO, b"")))
    if protocol.get(PROTO_NUM, b"\0")[0] != socket.IPPROTO_UDP:
        return None
    source, destination = ips.get(V4_SRC) or ips.get(V6_SRC), ips.get(V4_DST) or ips.get(V6_DST)
    if source is None or destination is None:
        return None
    ports = [int.from_bytes(protocol.get(kind, b"\0\0")[:2]) for kind in (PROTO_SRC_PORT, PROTO_DST_PORT)]
    return str(ip_address(source)), ports[0], str(ip_address(destination)), ports[1]


def delete(kernel: socket.socket, flow: Flow) -> None:
    body = struct.pack("=BBH", flow.family, 0, 0) + nested(TUPLE_ORIG, flow.original)
    try:
        list(exchange(kernel, DELETE, F_ACK, body))
    except OSError as error:
        if error.errno != errno.ENOENT:  # it has ended by itself
            raise


def exchange(kernel: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    kernel.send(struct.pack("=IHHII", 16 + len(body), kind, F_REQUEST | flags, 1, 0) + body)
    while True:
        for answered, _, payload in messages(kernel.recv(RECEIVE_BYTES)):
            if answered == NLMSG_DONE:
                return
            if answered == NLMSG_ERROR:
                [number] = struct.unpack_from("=i", payload)
                if number:
                    raise OSError(-number, os.strerror(-number))
                return
            yield payload
