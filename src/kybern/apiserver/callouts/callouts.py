"""One POST of JSON to a webhook's server, and its answer.

    answer = await callouts.post(webhook.client_config, body, timeout_seconds=10)     # CalloutFailed says why not

- Connections are kept for the next call to the same place with the same trust, so a webhook costs one exchange.
- A redirect is an answer like any other that is not 200: it is not followed.
- What is sent are our own headers and the body. No client's token, cookie or address goes along.
- A kept connection that its server had closed is tried once more, on a new one: calls can be made twice by contract.
"""

import base64
import hashlib
import ssl
from random import Random

from kybern.aio.timeouts import timeout
from kybern.apiserver.callouts.places import ClientConfig, Place, Unreachable, looked_up, place_of
from kybern.apiserver.request import Objects
from kybern.web.client import Client
from kybern.web.client_connection import ResponseStream
from kybern.web.client_errors import ClientError, ConnectFailed, ConnectionLost, ResponseTimeout
from kybern.web.clients import Clients
from kybern.web.http import Request, Response
from kybern.web.tls import client_context

ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Of an answer that holds objects of the largest size, converted; an admission's is far smaller."""
SAID_BYTES_MAX = 1024
"""Of what a refusal says, in our message."""
PLACES_MAX = 64
"""With connections kept; beyond it the place that was called longest ago is forgotten."""
CONNECTIONS_A_PLACE_MAX = 4
AGENT = "kybern-apiserver/admission"


class CalloutFailed(Exception):
    """`str` says why, in the words of Go's HTTP client, as users know them."""


class Callouts:
    def __init__(self, objects: Objects, rng: Random, *, pods_reachable: bool = True) -> None:
        """Where pods are only simulated, what listens at their addresses is somebody else's."""
        self.objects = objects
        self.rng = rng
        self.pods_reachable = pods_reachable
        self.clients: Clients[tuple[str, int, str, str]] = Clients(PLACES_MAX)

    def close(self) -> None:
        self.clients.close()

    async def post(
        self, config: ClientConfig, body: bytes, *, timeout_seconds: int, answer_bytes_max: int = ANSWER_BYTES_MAX
    ) -> bytes:
        """The body of a 200 answer."""
        place: Place | None = None
        try:
            async with timeout(timeout_seconds):
                if config.service is not None and not self.pods_reachable:
                    raise Unreachable("the pods of a simulated node have no network")
                place = place_of(config, self.objects, self.rng)
                return await self._exchange(place, config.ca_bundle, body, timeout_seconds, answer_bytes_max)
        except (TimeoutError, ResponseTimeout):
            raise CalloutFailed(told(config, place, timeout_seconds, "context deadline exceeded")) from None
        except (Unreachable, ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise CalloutFailed(told(config, place, timeout_seconds, reason(error))) from error

    async def _exchange(self, place: Place, ca: str | None, body: bytes, seconds: int, answer_bytes_max: int) -> bytes:
        host = await looked_up(place.host, place.port)
        client = self._client(host, place, ca)
        query = f"{place.query}&timeout={seconds}s" if place.query else f"timeout={seconds}s"
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": AGENT}
        request = Request("POST", place.path, query, headers, body)
        try:
            response = await client.send(request, timeout=seconds)
        except ConnectionLost:
            response = await client.send(request, timeout=seconds)
        return await self._answer(response, answer_bytes_max)

    async def _answer(self, response: Response, answer_bytes_max: int) -> bytes:
        """Bounded, and given up on as soon as it is known to be too large."""
        wanted = response.status == 200
        limit = answer_bytes_max if wanted else SAID_BYTES_MAX
        try:
            body = await response.read(limit + 1)
        finally:
            if isinstance(response.body, ResponseStream):
                await response.body.aclose()
        if not wanted:
            raise Unreachable(refusal(response.status, body[:SAID_BYTES_MAX]))
        if len(body) > limit:
            raise Unreachable(f"the answer is larger than {limit} bytes")
        return body

    def _client(self, host: str, place: Place, ca: str | None) -> Client:
        """By where it goes and whom it trusts."""
        key = (host, place.port, place.authority, hashlib.sha256((ca or "").encode()).hexdigest())
        return self.clients.kept(key, lambda: new_client(host, place, ca))


def new_client(host: str, place: Place, ca: str | None) -> Client:
    authority = f"[{host}]:{place.port}" if ":" in host else f"{host}:{place.port}"
    return Client(
        f"https://{authority}",
        ssl=client_context(ca=base64.b64decode(ca) if ca else None),
        server_hostname=place.name,
        headers={"Host": place.authority},
        idle_connections_max=CONNECTIONS_A_PLACE_MAX,
    )


def told(config: ClientConfig, place: Place | None, seconds: int, why: str) -> str:
    url = place.url if place is not None else written(config)
    return f'Post "{url}?timeout={seconds}s": {why}'


def written(config: ClientConfig) -> str:
    service = config.service
    if service is None:
        return config.url or ""
    return f"https://{service.name}.{service.namespace}.svc:{service.port or 443}/{(service.path or '').lstrip('/')}"


def reason(error: Exception) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {cause.verify_message}"
    if isinstance(error, ConnectFailed):
        where, _, why = str(error).partition(": ")
        return f"dial tcp {where}: connect: {why}"
    return str(error)


def refusal(status: int, said: bytes) -> str:
    """Upstream's wording for an answer that is none."""
    text = said.decode(errors="replace").strip()
    if status == 404:
        return "the server could not find the requested resource"
    if status >= 500:
        return f'an error on the server ("{text or "unknown"}") has prevented the request from succeeding'
    return f"the server responded with the status code {status} but did not return more information"
