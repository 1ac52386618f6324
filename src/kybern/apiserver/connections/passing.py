"""Passing a request on to another server and its answer back; after a 101, bytes both ways."""

from collections.abc import Mapping
from functools import partial

from kybern.api.errors import InternalError, ServiceUnavailable
from kybern.web.client import Client, ClientError, end_to_end_headers
from kybern.web.http import Request, Response, Upgrade
from kybern.web.relay import relay

OURS = ("authorization", "cookie", "host", "content-length", "accept-encoding")
"""The client's credentials are for this server; all that is behind it shares its name, and so would share cookies."""
OUR_PREFIXES = ("impersonate-", "x-remote-")
TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


def wants_upgrade(request: Request) -> bool:
    return "upgrade" in request.headers.get("connection", "").lower() and "upgrade" in request.headers


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What concerns the other server: neither this connection nor the client's credentials."""
    kept = {
        name: value
        for name, value in end_to_end_headers(headers).items()
        if name not in OURS and not name.startswith(OUR_PREFIXES)
    }
    protocols = kept.get("sec-websocket-protocol")
    if protocols and TOKEN_PROTOCOL in protocols:
        rest = [name for name in (part.strip() for part in protocols.split(",")) if not name.startswith(TOKEN_PROTOCOL)]
        kept["sec-websocket-protocol"] = ", ".join(rest)
    return kept


async def upgraded(client: Client, http: Request, path: str, query: str) -> Response:
    """The connection taken over, or what the other server says instead."""
    headers = passed_headers(http.headers) | {"connection": "Upgrade", "upgrade": http.headers["upgrade"]}
    try:
        response, backend = await client.upgrade(Request(http.method, path, query, headers))
    except ClientError as error:
        raise InternalError(f"error dialing backend: {error}") from None
    if backend is None:
        return Response(response.status, answered_headers(response), response.body)
    answer = end_to_end_headers(response.headers) | {"Connection": "Upgrade", "Upgrade": http.headers["upgrade"]}
    return Upgrade(101, answer, takeover=partial(relay, b=backend))


async def forwarded(client: Client, http: Request, path: str, query: str) -> Response:
    """The other server's answer, as it comes."""
    sent = Request(http.method, path, query, passed_headers(http.headers), http.body)
    try:
        response = await client.send(sent)
    except ClientError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from None
    return Response(response.status, answered_headers(response), response.body)


def answered_headers(response: Response) -> dict[str, str]:
    """Without the length, which our own connection tells."""
    headers = end_to_end_headers(response.headers)
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}
