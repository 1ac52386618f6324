"""Connections that the kernel still leads to where a service no longer is: forgotten, so that the next packet chooses anew.

Only protocols without a connection need it (UDP; SCTP ends by itself): a TCP connection to a backend that is gone ends
with it, but a client that goes on sending datagrams would send them to nobody for as long as it does not pause.

- A backend that is gone: what was led to it is forgotten.
- A service that had no backend and has one now: what was let through untranslated meanwhile is forgotten.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kybern.linux.conntrack import Flow
from kybern.network.services import Backend, ServicePort

Ports = Mapping[tuple[str, str], Sequence[ServicePort]]


@dataclass(frozen=True, slots=True)
class Stale:
    """Which UDP flows are to be forgotten."""

    gone: frozenset[tuple[str, int, str, int]]
    """(address, port) that a client sends to, (address, port) that it was led to. Port and address of a node port: ("", number)."""
    begun: frozenset[tuple[str, int]]
    """What a client sends to, and was led nowhere."""

    def is_stale(self, flow: Flow) -> bool:
        asked = ((flow.destination, flow.port), ("", flow.port))
        if any((*way, flow.answered_by, flow.answered_at) in self.gone for way in asked):
            return True
        untranslated = (flow.answered_by, flow.answered_at) == (flow.destination, flow.port)
        return untranslated and any(way in self.begun for way in asked)


def stale(before: Ports, now: Ports) -> Stale:
    gone: set[tuple[str, int, str, int]] = set()
    begun: set[tuple[str, int]] = set()
    was = ways(port for ports in before.values() for port in ports)
    following = ways(port for ports in now.values() for port in ports)
    for way, backends in was.items():
        gone |= {(*way, backend.address, backend.port) for backend in backends - following.get(way, set())}
    for way, backends in following.items():
        if backends and not was.get(way):
            begun.add(way)
    return Stale(frozenset(gone), frozenset(begun))


def ways(ports: Iterable[ServicePort]) -> dict[tuple[str, int], set[Backend]]:
    """What clients send datagrams to, with who answers."""
    found: dict[tuple[str, int], set[Backend]] = {}
    for port in ports:
        if port.protocol == "udp":
            backends = {*port.backends, *(port.outside_backends or ())}
            for address in (*port.cluster_ips, *port.external_ips):
                found.setdefault((address, port.port), set()).update(backends)
            if port.node_port:
                found.setdefault(("", port.node_port), set()).update(backends)
    return found


class FlowCleaner:
    def __init__(self, forget: Callable[[Callable[[Flow], bool]], int]) -> None:
        """`forget` is `linux.conntrack.forget_udp`."""
        self.forget = forget

    async def clean(self, before: Ports, now: Ports) -> None:
        found = stale(before, now)
        if found.gone or found.begun:
            await asyncio.to_thread(self.forget, found.is_stale)
