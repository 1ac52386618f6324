"""Passing a request of the API on to another server: without the client's credentials, and with the API's errors."""

from collections.abc import Mapping

from kybern.api.errors import InternalError, ServiceUnavailable
from kybern.web.client import Client, ClientError, end_to_end_headers
from kybern.web.http import Request, Response
from kybern.web.passing import pass_on, pass_upgrade

OURS = ("authorization", "cookie", "host", "content-length", "accept-encoding")
"""The client's credentials are for this server; all that is behind it shares its name, and so would share cookies."""
OUR_PREFIXES = ("impersonate-", "x-remote-")
TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


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
    sent = Request(http.method, path, query, passed_headers(http.headers))
    try:
        return await pass_upgrade(client, sent, http.headers["upgrade"])
    except ClientError as error:
        raise InternalError(f"error dialing backend: {error}") from None


async def forwarded(client: Client, http: Request, path: str, query: str) -> Response:
    """The other server's answer, as it comes."""
    sent = Request(http.method, path, query, passed_headers(http.headers), http.body)
    try:
        return await pass_on(client, sent)
    except ClientError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from None
