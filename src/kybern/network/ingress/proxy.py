"""Answers requests by the table of Ingresses: a handler for `web.server`.

The table is asked for each request, so a changed one holds for the next request, and no connection is dropped.
"""

from msgspec.structs import replace

from kybern.aio.clock import Clock
from kybern.network.ingress.carrying import TEXT, Carrier, tell
from kybern.network.ingress.routing import Table, Target, bare_host, names_of
from kybern.web.http import Request, Response


class IngressProxy:
    def __init__(self, clock: Clock, carrier: Carrier) -> None:
        self.clock, self.carrier = clock, carrier
        self.table = Table()
        self.redirected: frozenset[str] = frozenset()
        """Hosts that are answered over TLS only."""

    def use(self, table: Table, redirected: frozenset[str]) -> None:
        """From the next request on."""
        self.table, self.redirected = table, redirected

    def targets(self) -> list[Target]:
        found = [route.target for routes in self.table.by_host.values() for route in routes]
        return [*found, *((self.table.default,) if self.table.default else ())]

    async def plain(self, request: Request) -> Response:
        return await self._answered(request, "http")

    async def secure(self, request: Request) -> Response:
        return await self._answered(request, "https")

    async def _answered(self, request: Request, scheme: str) -> Response:
        began = self.clock.monotonic()
        host = request.headers.get("host", "")
        target = self.table.find(host, request.path)
        if scheme == "http" and self._is_redirected(host):
            query = f"?{request.query}" if request.query else ""
            response = Response(308, {"Location": f"https://{bare_host(host)}{request.path}{query}"})
        elif target is None:
            response = Response(404, TEXT, b"default backend - 404\n")
        else:
            sent = replace(request, headers=self.carrier.headers(request, scheme))
            response = await self.carrier.carry(sent, target)
        where = f"{target.namespace}/{target.service}" if target else "-"
        tell(request, host, response, where, (self.clock.monotonic() - began) * 1000)
        return response

    def _is_redirected(self, host: str) -> bool:
        """As the most exact name says that is known: a host with rules of its own is not its wildcard's."""
        known = (name for name in names_of(host) if name in self.redirected or name in self.table.by_host)
        return next(known, "") in self.redirected
