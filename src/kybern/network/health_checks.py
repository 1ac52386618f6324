"""Health check node ports: outside load balancers ask a node whether it has endpoints of a service with
`externalTrafficPolicy: Local`, and send it connections only when it says so.

`wanted` is a pure function; `run` keeps a listener for each port, on the node's own addresses.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kybern.api.core_v1 import Service
from kybern.api.discovery_v1 import EndpointSlice
from kybern.network.follow import EndpointSlices, Followed
from kybern.network.services import is_ready
from kybern.web.http import Handler, Request, Response
from kybern.web.server import Server, serve

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    namespace: str
    service: str
    local_endpoints: int


def wanted(
    services: Iterable[Service], slices: Mapping[tuple[str, str], Sequence[EndpointSlice]], node: str
) -> dict[int, Answer]:
    """Port → what is said there."""
    found = {}
    for service in services:
        port = service.spec.health_check_node_port
        key = (service.metadata.namespace or "", service.metadata.name or "")
        if port and service.spec.external_traffic_policy == "Local":
            found[port] = Answer(*key, len(local_addresses(slices.get(key, ()), node)))
    return found


def local_addresses(slices: Sequence[EndpointSlice], node: str) -> set[str]:
    return {
        address
        for piece in slices
        for endpoint in piece.endpoints or ()
        if endpoint.node_name == node and is_ready(endpoint)
        for address in endpoint.addresses[:1]
    }


class HealthChecks:
    def __init__(self, view: Followed, slices: EndpointSlices, node: str, addresses: Sequence[str]) -> None:
        """`slices` are kept current by the proxy."""
        self.view, self.slices, self.node, self.addresses = view, slices, node, addresses
        self.answers: dict[int, Answer] = {}
        self.listeners: dict[tuple[str, int], Server] = {}
        self.changed = asyncio.Event()
        for kind in (Service, EndpointSlice):
            view.on_change(kind, lambda old, new: self.changed.set())

    async def run(self) -> None:
        try:
            while True:
                self.changed.clear()
                self.answers = wanted(self.view.list(Service), self.slices.of_service, self.node)
                places = {(address, port) for address in self.addresses for port in self.answers}
                for place in self.listeners.keys() - places:
                    await self.listeners.pop(place).close()
                for place in places - self.listeners.keys():
                    await self._listen(*place)
                await self.changed.wait()
        finally:
            for listener in self.listeners.values():
                await listener.close()

    async def _listen(self, address: str, port: int) -> None:
        try:
            self.listeners[address, port] = await serve(self._handler(port), host=address, port=port)
        except OSError as error:
            log.error("health check node port %d of %s cannot be opened: %s", port, self.answers[port].service, error)

    def _handler(self, port: int) -> Handler:
        async def answer(request: Request) -> Response:
            about = self.answers.get(port)
            if about is None or request.path not in ("/", "/healthz"):
                return Response(404)
            body = {
                "service": {"namespace": about.namespace, "name": about.service},
                "localEndpoints": about.local_endpoints,
                "serviceProxyHealthy": True,
            }
            headers = {
                "Content-Type": "application/json",
                "X-Content-Type-Options": "nosniff",
                "X-Load-Balancing-Endpoint-Weight": str(about.local_endpoints),
            }
            return Response(200 if about.local_endpoints else 503, headers, json.dumps(body).encode())

        return answer
