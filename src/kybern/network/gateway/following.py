"""Follows what the programme is made of, tells the proxy and the objects what became of it, and listens where it says.

The kinds are custom ones, so they may not be there yet: they are in a View of their own, which is asked once it has them.
A certificate is read by whoever reads those of Ingresses.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace

from kybern.aio.clock import Clock
from kybern.api.core_v1 import Namespace
from kybern.api.errors import ApiError
from kybern.client import Client
from kybern.client.view import View
from kybern.network.follow import changed_within
from kybern.network.gateway.grpc import as_http
from kybern.network.gateway.objects import (
    KINDS,
    Gateway,
    GatewayClass,
    GRPCRoute,
    HTTPRoute,
    ReferenceGrant,
)
from kybern.network.gateway.programme import Key, Programme, World, programme
from kybern.network.gateway.proxy import GatewayProxy
from kybern.network.gateway.routing import names_of
from kybern.network.gateway.status import CONTROLLER, class_status
from kybern.network.ingress.following import IngressFollower

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class GatewayFollower:
    def __init__(
        self,
        client: Client,
        view: View,
        ingress: IngressFollower,
        proxy: GatewayProxy,
        addresses: Sequence[str],
        listen: Callable[[dict[int, bool]], Awaitable[dict[int, str]]],
        clock: Clock,
        changed: asyncio.Event,
    ) -> None:
        """`listen` makes the ports those that are wanted (port → TLS), and says which cannot be. `changed` is
        set by whoever follows what backends and certificates are made of."""
        self.client, self.view, self.ingress, self.proxy = client, view, ingress, proxy
        self.addresses, self.listen, self.clock = addresses, listen, clock
        self.certificates: dict[int, dict[str, Key]] = {}
        self.changed = changed
        for kind in KINDS:
            view.watch_kind(kind)
            view.on_change(kind, lambda old, new: self.changed.set())
        ingress.view.on_change(Namespace, lambda old, new: self.changed.set())

    async def run(self) -> None:
        await self.view.synced()
        while True:
            self.changed.clear()
            try:
                all_there = await self.sync()
            except ApiError as error:
                log.warning("statuses of Gateways are written again in %.0f s: %s", RETRY_SECONDS, error.message)
                all_there = False
            await changed_within(self.changed, None if all_there else RETRY_SECONDS)

    async def sync(self) -> bool:
        """False where a port cannot be listened on: nobody tells when it can."""
        found = self.programme({})
        unavailable = await self.listen({port: port in found.secure for port in found.ports})
        if unavailable:
            found = self.programme(unavailable)
        self.proxy.use(found.ports)
        self.certificates = {port: dict(reversed(listed)) for port, listed in found.certificates.items()}
        await self.tell(found)
        return not unavailable

    def programme(self, unavailable: Mapping[int, str]) -> Programme:
        view = self.view
        labels = {n.metadata.name or "": n.metadata.labels or {} for n in self.ingress.view.list(Namespace)}
        world = World(
            classes=view.list(GatewayClass),
            gateways=[found for found in view.list(Gateway) if found.metadata.deletion_timestamp is None],
            routes=[found for found in self.routes() if found.metadata.deletion_timestamp is None],
            grants=view.list(ReferenceGrant),
            labels=labels,
            backends=self.ingress.backends(),
            addresses=self.addresses,
            unavailable=unavailable,
        )
        return programme(world, self.has_certificate, self.clock.wall())

    def routes(self) -> list[HTTPRoute]:
        return [*self.view.list(HTTPRoute), *map(as_http, self.view.list(GRPCRoute))]

    def has_certificate(self, secret: Key) -> bool:
        return self.ingress.context_of(*secret) is not None

    def context_for(self, port: int, host: str | None) -> ssl.SSLContext | None:
        """Of the name that a client asks for (SNI); None where no listener of the port has one for it."""
        listed = self.certificates.get(port, {})
        secret = next((listed[name] for name in names_of(host or "") if name in listed), None)
        return self.ingress.context_of(*secret) if secret is not None else None

    async def tell(self, found: Programme) -> None:
        for made in self.view.list(GatewayClass):
            if made.spec.controller_name == CONTROLLER:
                said = class_status(made, self.clock.wall())
                if said != made.status:
                    await self.client.update_status(replace(made, status=said))
        for gateway, status in found.gateways:
            if status != gateway.status:
                await self.client.update_status(replace(gateway, status=status))
        for route, told in found.routes:
            if told == route.status:
                continue
            meta = route.metadata
            if route.kind == "HTTPRoute":
                await self.client.update_status(replace(route, status=told))
            elif (own := self.view.get(GRPCRoute, meta.name or "", meta.namespace or "")) is not None:
                await self.client.update_status(replace(own, status=told))
