"""A request passed on to another server, and its answer back; after a 101, bytes both ways. ClientError where it cannot be."""

from functools import partial
from typing import Protocol

from kybern.web.client import Client, end_to_end_headers
from kybern.web.http import Request, Response, Upgrade
from kybern.web.relay import relay


def wants_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower() and "upgrade" in request.headers


class Sends(Protocol):
    """A client of either version."""

    async def send(self, request: Request) -> Response: ...


async def pass_on(client: Sends, request: Request) -> Response:
    """The other server's answer, as it comes. `request.headers` are those that it is to see."""
    response = await client.send(request)
    return Response(response.status, answered_headers(response), response.body, response.trailers)


async def pass_upgrade(client: Client, request: Request, protocol: str) -> Response:
    """The connection taken over, or what the other server says instead."""
    headers = {**request.headers, "connection": "Upgrade", "upgrade": protocol}
    response, backend = await client.upgrade(Request(request.method, request.path, request.query, headers))
    if backend is None:
        return Response(response.status, answered_headers(response), response.body)
    answer = end_to_end_headers(response.headers) | {"Connection": "Upgrade", "Upgrade": protocol}
    return Upgrade(101, answer, takeover=partial(relay, b=backend))


def answered_headers(response: Response) -> dict[str, str]:
    """Without the length, which our own connection tells."""
    headers = end_to_end_headers(response.headers)
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}
