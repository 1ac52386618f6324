"""A request, sent on to an extension's API server in the name of whoever sent it to us.

- We prove who we are with the front proxy's certificate, and say who asks in X-Remote-* headers; such headers of the
  client's own, its token and its wish to be somebody else never get there.
- An answer that leads elsewhere (3xx) is refused: a client would follow it with what it shows to us.
- Streams and upgraded connections pass through.
"""

import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from kybern.api.errors import ApiError, Forbidden, ServiceUnavailable
from kybern.apiserver.connections.passing import passed_headers
from kybern.apiserver.request import ApiRequest, User
from kybern.web.client import Client, ClientError, end_to_end_headers
from kybern.web.http import Request, Response, Upgrade
from kybern.web.passing import wants_upgrade
from kybern.web.relay import relay

REDIRECTED = "the backend attempted to redirect this request, which is not permitted"
KEY_SAFE = "!#$&'*+-.^_`|~"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class BadGateway(ApiError):
    code = 502
    reason = ""


def remote_headers(user: User) -> tuple[tuple[str, str], ...]:
    """Who asks, as extensions read it: a line for each value, since upstream's library takes a line for one group."""
    found = [("x-remote-user", user.name)]
    if user.uid:
        found.append(("x-remote-uid", user.uid))
    found += (("x-remote-group", group) for group in user.groups)
    for key, values in user.extra.items():
        name = f"x-remote-extra-{quote(key.lower(), safe=KEY_SAFE)}"
        found += ((name, value) for value in values)
    for _, value in found:
        if value != value.strip() or CONTROL.search(value):
            raise Forbidden(f"the server cannot tell an extension that {value!r} asks")  # it would read another name
    return tuple((name, value.encode().decode("latin-1")) for name, value in found)


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in passed_headers(headers).items() if not name.startswith("x-remote-")}


async def pass_on(request: ApiRequest, client: Client) -> Response:
    http = request.http
    sent = Request(
        http.method, http.path, http.query, kept_headers(http.headers), http.body,
        repeated=remote_headers(request.user),
    )  # fmt: skip
    try:
        if wants_upgrade(http):
            return await upgraded(client, sent, http.headers["upgrade"])
        response = await client.send(sent)
    except ClientError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}") from None
    return answered(response)


def answered(response: Response) -> Response:
    if 300 <= response.status < 400 and response.status != 304:
        raise BadGateway(REDIRECTED)
    headers = {
        name: value for name, value in end_to_end_headers(response.headers).items() if name.lower() != "content-length"
    }
    return Response(response.status, headers, response.body)


async def upgraded(client: Client, sent: Request, protocol: str) -> Response:
    sent.headers, sent.body = {**sent.headers, "connection": "Upgrade", "upgrade": protocol}, b""
    response, backend = await client.upgrade(sent)
    if backend is None:
        return answered(response)
    answer = end_to_end_headers(response.headers) | {"Connection": "Upgrade", "Upgrade": protocol}
    return Upgrade(101, answer, takeover=partial(relay, b=backend))
