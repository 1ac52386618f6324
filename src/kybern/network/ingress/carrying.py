"""Carries one request to one of several places, with connections kept for each.

- A place that cannot be reached, or that closed before it answered, is passed over for another, for requests that may be
  sent again (GET, HEAD, OPTIONS without a body under way). A route may say more: how often, after which answers, and then
  for requests of every method, and for those that took too long.
- The backend sees the host that was asked for, and who asks: X-Forwarded-For, -Proto, -Host, X-Real-IP, X-Request-ID.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from kybern.aio.timeouts import timeout
from kybern.network.ingress.routing import Speaks, Target
from kybern.web.client import Client, ClientError, ConnectFailed, ResponseTimeout, end_to_end_headers
from kybern.web.head import BadHeader
from kybern.web.http import Request, Response
from kybern.web.passing import pass_on, pass_upgrade, wants_upgrade

REPEATABLE = ("GET", "HEAD", "OPTIONS")
ATTEMPTS_MAX = 3
CONNECT_SECONDS = 5.0
POOLS_MAX = 1000
TEXT = {"Content-Type": "text/plain; charset=utf-8"}

if TYPE_CHECKING:
    from kybern.web.http2.client import Http2Client

access = logging.getLogger("kybern.ingress.access")

Place = tuple[str, int, Speaks]


@dataclass(frozen=True, slots=True)
class Again:
    """What a route says of requests that fail."""

    times: int
    codes: Collection[int]
    """Answers that are failures too."""
    pause: Callable[[], Awaitable[None]]
    """Before each."""


class Carrier:
    def __init__(self, rng: Random, unverified: Callable[[], ssl.SSLContext]) -> None:
        """`unverified`: TLS to backends that speak it; they have certificates of any kind."""
        self.rng, self.unverified = rng, unverified
        self.pools: dict[Place, Client | Http2Client] = {}

    def keep(self, targets: Iterable[Target]) -> None:
        """Connections to all other places end when they are done."""
        kept = {(*address, target.speaks) for target in targets for address in target.addresses}
        for place in self.pools.keys() - kept:
            self.pools.pop(place).close_idle()

    def close(self) -> None:
        for pool in self.pools.values():
            pool.close()

    async def carry(
        self,
        request: Request,
        target: Target,
        seconds: float | None = None,
        attempts: int = ATTEMPTS_MAX,
        again: Again | None = None,
    ) -> Response:
        """`seconds`: for each attempt."""
        if not target.addresses:
            return Response(503, TEXT, b"no endpoints available\n")
        repeatable = (again is not None or request.method in REPEATABLE) and isinstance(request.body, bytes)
        places = self.rng.sample(target.addresses, len(target.addresses))
        attempts = min(attempts, len(places)) if again is None else again.times + 1
        for number in range(attempts):
            address, last = places[number % len(places)], number == attempts - 1
            if number and again is not None:
                await again.pause()
            try:
                async with timeout(seconds):
                    response = await self._sent(request, self._pool((*address, target.speaks)))
            except (ResponseTimeout, TimeoutError):
                if last or not repeatable or again is None:
                    return Response(504, TEXT, b"the backend did not answer in time\n")
                continue
            except (BadHeader, UnicodeEncodeError) as error:  # of the request, or of what its route does to it
                access.warning("%s/%s: a request that cannot be sent: %s", target.namespace, target.service, error)
                return Response(500, TEXT, b"what was made of the request cannot be sent\n")
            except ClientError as error:
                if last or not (repeatable or isinstance(error, ConnectFailed)):
                    access.warning("%s:%d of %s/%s: %s", *address, target.namespace, target.service, error)
                    return Response(502, TEXT, b"the backend could not be reached\n")
                continue
            if last or not repeatable or again is None or response.status not in again.codes:
                return response
            await let_go(response)
        raise AssertionError("a loop over at least one attempt returns")

    async def _sent(self, request: Request, pool: "Client | Http2Client") -> Response:
        if wants_upgrade(request) and isinstance(pool, Client):
            return await pass_upgrade(pool, passed(request), request.headers["upgrade"])
        return await pass_on(pool, passed(request))

    def headers(self, request: Request, scheme: str) -> dict[str, str]:
        """What the backend is to see of a client's request. What the client calls its connection's own goes first: it
        must not name ours."""
        client = request.peer.address.rpartition(":")[0].strip("[]")
        headers = passed(request).headers
        if wants_upgrade(request):
            headers = {**headers, "connection": "upgrade", "upgrade": request.headers["upgrade"]}
        before = headers.get("x-forwarded-for")
        return {
            **headers,
            "x-forwarded-for": f"{before}, {client}" if before else client,
            "x-forwarded-proto": scheme,
            "x-forwarded-host": request.headers.get("host", ""),
            "x-real-ip": client,
            "x-request-id": headers.get("x-request-id") or f"{self.rng.getrandbits(128):032x}",
        }

    def _pool(self, place: Place) -> "Client | Http2Client":
        pool = self.pools.get(place)
        if pool is None:
            pool = self._new_pool(*place)
            while len(self.pools) >= POOLS_MAX:
                self.pools.pop(next(iter(self.pools))).close_idle()
            self.pools[place] = pool
        return pool

    def _new_pool(self, host: str, port: int, speaks: Speaks) -> "Client | Http2Client":
        if speaks == "h2c":
            from kybern.web.http2.client import Http2Client  # with h2, which takes a while to import

            return Http2Client(host, port)
        shown = f"[{host}]" if ":" in host else host
        tls = self.unverified() if speaks == "https" else None
        return Client(f"{speaks}://{shown}:{port}", ssl=tls, connect_seconds=CONNECT_SECONDS)


def passed(request: Request) -> Request:
    """Without what is about our client's connection only."""
    headers = end_to_end_headers(request.headers)
    headers.pop("content-length", None)
    return Request(request.method, request.path, request.query, headers, request.body)


async def let_go(response: Response) -> None:
    """An answer that nobody reads no longer holds its connection."""
    if close := getattr(response.body, "aclose", None):
        await close()


def tell(request: Request, host: str, response: Response, where: str, taken_ms: float) -> None:
    """A line of the access log."""
    access.info(
        '%s "%s %s" %s %d %s %.1f ms', request.peer.address, request.method, request.path, host, response.status,
        where, taken_ms,
    )  # fmt: skip
