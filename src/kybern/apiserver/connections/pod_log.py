"""GET pods/log: the kubelet's answer, as it comes."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from kybern.api.errors import About, BadRequest, InternalError, MethodNotAllowed, NotFound, invalid
from kybern.api.invalid import FieldError, forbidden_field, invalid_value
from kybern.apiserver.connections.containers import container_of, pod_of
from kybern.apiserver.connections.kubelets import Kubelets
from kybern.apiserver.connections.sockets import log_over_websocket, wants_websocket
from kybern.apiserver.options import Params, flag, one, whole_number
from kybern.apiserver.request import ApiRequest, Objects
from kybern.apiserver.verbs.subresource import NOT_ALLOWED
from kybern.web.client import ClientError
from kybern.web.http import Request, Response

HEADERS = {"Content-Type": "text/plain", "Cache-Control": "no-cache, private"}
FLAGS = ("follow", "previous", "timestamps")
VALUES = ("sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream")
ERROR_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class PodLog:
    objects: Objects
    kubelets: Kubelets

    async def __call__(self, request: ApiRequest) -> Response:
        if request.http.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(NOT_ALLOWED)
        at, params = request.attributes, request.params
        pod = pod_of(self.objects, request)
        check_options(params, at.name)
        container = container_of(pod, one(params, "container"))
        if not pod.spec.node_name:
            return told_to(request, Response(200, HEADERS, b""))
        client = self.kubelets.client(self.kubelets.address(pod.spec.node_name))
        path = f"/containerLogs/{quote(at.namespace)}/{quote(at.name)}/{quote(container)}"
        try:
            response = await client.send(Request("GET", path, log_query(params)))
            if response.status != 200:
                raise told(response.status, (await response.read())[:ERROR_BYTES_MAX].decode(errors="replace"))
        except ClientError as error:
            raise InternalError(f'Get "https://{client.where()}{path}": {error}') from None
        return told_to(request, Response(200, HEADERS, response.body))


def told_to(request: ApiRequest, response: Response) -> Response:
    return log_over_websocket(request.http, response) if wants_websocket(request.http) else response


def told(status: int, text: str) -> Exception:
    """The kubelet's refusal as the client hears of it."""
    if status == 400:
        return BadRequest(text)
    return NotFound(text) if status == 404 else InternalError(text)


def log_query(params: Params) -> str:
    flags = [(name, "true") for name in FLAGS if flag(params, name)]
    return urlencode([*flags, *((name, one(params, name)) for name in VALUES if one(params, name))])


def check_options(params: Params, name: str) -> None:
    wrong: list[FieldError] = []
    for field, least, why in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ):
        number = whole_number(params, field)
        if number is not None and number < least:
            wrong.append(invalid_value(field, number, why))
    if one(params, "sinceSeconds") and one(params, "sinceTime"):
        wrong.append(forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if wrong:
        raise invalid(About(kind="PodLogOptions", name=name), wrong)
