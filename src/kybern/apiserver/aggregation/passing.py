"""A request, sent on to an extension's API server in the name of whoever sent it to us.

- We prove who we are with the front proxy's certificate, and say who asks in X-Remote-* headers; such headers of the
  client's own, its token and its wish to be somebody else never get there.
- An answer that leads elsewhere (3xx) is refused: a client would follow it with what it shows to us.
- Streams and upgraded connections pass through.
"""

from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from kybern.api.errors import ApiError, ServiceUnavailable
from kybern.apiserver.connections.passing import passed_headers, wants_upgrade
from kybern.apiserver.request import ApiRequest, User
from kybern.web.client import Client, ClientError, end_to_end_headers
from kybern.web.http import Request, Response, Upgrade
from kybern.web.relay import relay

REDIRECTED = "the backend attempted to redirect this request, which is not permitted"
KEY_SAFE = "!#$&'*+-.^_`|~"


class BadGateway(ApiError):
    code = 502
    reason = ""


def remote_headers(user: User) -> dict[str, str]:
    """Who asks, as extensions read it. HTTP joins the values of one name with commas, and so do we."""
    found = {"x-remote-user": user.name}
    if user.uid:
        found["x-remote-uid"] = user.uid
    if user.groups:
        found["x-remote-group"] = ",".join(user.groups)
    for key, values in user.extra.items():
        found[f"x-remote-extra-{quote(key.lower(), safe=KEY_SAFE)}"] = ",".join(values)
    return found


def sent_headers(request: ApiRequest) -> dict[str, str]:
    headers = request.http.headers
    kept = {name: value for name, value in passed_headers(headers).items() if not name.startswith("x-remote-")}
    return kept | remote_headers(request.user)


async def pass_on(request: ApiRequest, client: Client) -> Response:
    http = request.http
    headers = sent_headers(request)
    try:
        if wants_upgrade(http):
            return await upgraded(client, http, headers)
        sent = Request(http.method, http.path, http.query, headers, http.body)
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


async def upgraded(client: Client, http: Request, headers: Mapping[str, str]) -> Response:
    wanted = {**headers, "connection": "Upgrade", "upgrade": http.headers["upgrade"]}
    response, backend = await client.upgrade(Request(http.method, http.path, http.query, wanted))
    if backend is None:
        return answered(response)
    answer = end_to_end_headers(response.headers) | {"Connection": "Upgrade", "Upgrade": http.headers["upgrade"]}
    return Upgrade(101, answer, takeover=partial(relay, b=backend))
