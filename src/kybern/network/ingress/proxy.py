"""Carries requests to backends: a handler for `web.server`.

- The table is asked for each request, so a changed one holds for the next request, and no connection is dropped.
- A backend that cannot be reached, or that closed before it answered, is passed over for another, for requests that may be
  sent again (GET, HEAD, OPTIONS without a body under way).
- The backend sees the host that was asked for, and who asks: X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-ID.
"""

import logging
import ssl
from collections.abc import Callable
from random import Random

from kybern.aio.clock import Clock
from kybern.network.ingress.routing import Table, Target
from kybern.web.client import Client, ClientError, ConnectFailed, ResponseTimeout, end_to_end_headers
from kybern.web.http import Request, Response
from kybern.web.passing import pass_on, pass_upgrade, wants_upgrade

REPEATABLE = ("GET", "HEAD", "OPTIONS")
ATTEMPTS_MAX = 3
CONNECT_SECONDS = 5.0
POOLS_MAX = 1000
TEXT = {"Content-Type": "text/plain; charset=utf-8"}

access = logging.getLogger("kybern.ingress.access")

Place = tuple[str, int, bool]


class IngressProxy:
    def __init__(self, clock: Clock, rng: Random, unverified: Callable[[], ssl.SSLContext]) -> None:
        """`unverified`: TLS to backends that speak it; they have certificates of any kind."""
        self.clock, self.rng, self.unverified = clock, rng, unverified
        self.table = Table()
        self.redirected: frozenset[str] = frozenset()
        """Hosts that are answered over TLS only."""
        self.pools: dict[Place, Client] = {}

    def use(self, table: Table, redirected: frozenset[str]) -> None:
        """From the next request on. Connections to backends that are gone end when they are done."""
        self.table, self.redirected = table, redirected
        targets = [route.target for routes in table.by_host.values() for route in routes]
        targets += [table.default] if table.default else []
        kept = {(*address, target.secure) for target in targets for address in target.addresses}
        for place in self.pools.keys() - kept:
            self.pools.pop(place).close_idle()

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()

    async def plain(self, request: Request) -> Response:
        return await self._answered(request, "http")

    async def secure(self, request: Request) -> Response:
        return await self._answered(request, "https")

    async def _answered(self, request: Request, scheme: str) -> Response:
        began = self.clock.monotonic()
        host = request.headers.get("host", "")
        target = self.table.find(host, request.path)
        if scheme == "http" and host.partition(":")[0].lower() in self.redirected:
            query = f"?{request.query}" if request.query else ""
            response = Response(308, {"Location": f"https://{host.partition(':')[0]}{request.path}{query}"})
        elif target is None:
            response = Response(404, TEXT, b"default backend - 404\n")
        else:
            response = await self._carried(request, target, scheme)
        taken = (self.clock.monotonic() - began) * 1000
        where = f"{target.namespace}/{target.service}" if target else "-"
        access.info(
            '%s "%s %s" %s %d %s %.1f ms', request.peer.address, request.method, request.path, host, response.status,
            where, taken,
        )  # fmt: skip
        return response

    async def _carried(self, request: Request, target: Target, scheme: str) -> Response:
        if not target.addresses:
            return Response(503, TEXT, b"no endpoints available\n")
        sent = Request(request.method, request.path, request.query, self._headers(request, scheme), request.body)
        repeatable = request.method in REPEATABLE and isinstance(request.body, bytes)
        places = self.rng.sample(target.addresses, min(len(target.addresses), ATTEMPTS_MAX))
        for number, address in enumerate(places, 1):
            pool = self._pool((*address, target.secure))
            try:
                if wants_upgrade(request):
                    return await pass_upgrade(pool, sent, request.headers["upgrade"])
                return await pass_on(pool, sent)
            except ResponseTimeout:
                return Response(504, TEXT, b"the backend did not answer in time\n")
            except ClientError as error:
                if number == len(places) or not (repeatable or isinstance(error, ConnectFailed)):
                    access.warning("%s:%d of %s/%s: %s", *address, target.namespace, target.service, error)
                    return Response(502, TEXT, b"the backend could not be reached\n")
        raise AssertionError("a loop over at least one place returns")

    def _headers(self, request: Request, scheme: str) -> dict[str, str]:
        client = request.peer.address.rpartition(":")[0].strip("[]")
        headers = end_to_end_headers(request.headers)
        headers.pop("content-length", None)
        before = headers.get("x-forwarded-for")
        return headers | {
            "x-forwarded-for": f"{before}, {client}" if before else client,
            "x-forwarded-proto": scheme,
            "x-forwarded-host": request.headers.get("host", ""),
            "x-real-ip": client,
            "x-request-id": headers.get("x-request-id") or f"{self.rng.getrandbits(128):032x}",
        }

    def _pool(self, place: Place) -> Client:
        pool = self.pools.get(place)
        if pool is None:
            host, port, secure = place
            shown = f"[{host}]" if ":" in host else host
            tls = self.unverified() if secure else None
            pool = Client(f"{'https' if secure else 'http'}://{shown}:{port}", ssl=tls, connect_seconds=CONNECT_SECONDS)
            while len(self.pools) >= POOLS_MAX:
                self.pools.pop(next(iter(self.pools))).close_idle()
            self.pools[place] = pool
        return pool
