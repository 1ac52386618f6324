"""exec, attach, port-forward: understood here, carried by the kubelet; this server only passes bytes on.

WebSocket (GET) and SPDY (POST) look the same from here: whatever the client wants to upgrade to, the kubelet speaks.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from kybern.api.errors import BadRequest
from kybern.apiserver.connections.containers import container_of, node_of, pod_of
from kybern.apiserver.connections.kubelets import Kubelets
from kybern.apiserver.connections.passing import upgraded
from kybern.apiserver.options import Params, flag, one, port_numbers
from kybern.apiserver.request import ApiRequest, Objects
from kybern.web.http import Response
from kybern.web.passing import wants_upgrade

STREAMS = (("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty"))
"""Upstream's names for the same thing, in the API and at the kubelet."""


@dataclass(frozen=True, slots=True)
class PodStreams:
    objects: Objects
    kubelets: Kubelets

    async def exec(self, request: ApiRequest) -> Response:
        return await self._container(request, "exec", ("stdout", "stderr"))

    async def attach(self, request: ApiRequest) -> Response:
        return await self._container(request, "attach", ("stdout", "stderr"))

    async def port_forward(self, request: ApiRequest) -> Response:
        pod = pod_of(self.objects, request)
        at = request.attributes
        query = urlencode([("port", port) for port in port_numbers(request.params)])
        return await self._pass(request, node_of(pod), f"/portForward/{quote(at.namespace)}/{quote(at.name)}", query)

    async def _container(self, request: ApiRequest, what: str, usual: tuple[str, ...]) -> Response:
        pod = pod_of(self.objects, request)
        container = container_of(pod, one(request.params, "container"))
        node = node_of(pod)
        at = request.attributes
        path = f"/{what}/{quote(at.namespace)}/{quote(at.name)}/{quote(container)}"
        return await self._pass(request, node, path, stream_query(request.params, usual))

    async def _pass(self, request: ApiRequest, node: str, path: str, query: str) -> Response:
        if not wants_upgrade(request.http):
            raise BadRequest("Upgrade request required")
        client = self.kubelets.client(self.kubelets.address(node))
        return await upgraded(client, request.http, path, query)


def stream_query(params: Params, usual: tuple[str, ...]) -> str:
    """What the kubelet needs to know. A client that names no stream at all gets the usual ones."""
    wanted = [
        (name, theirs) for name, theirs in STREAMS if flag(params, name) or (name in usual and name not in params)
    ]
    pairs = [("command", word) for word in params.get("command", [])]
    tty = flag(params, "tty")
    return urlencode([*pairs, *((theirs, "1") for name, theirs in wanted if not (tty and name == "stderr"))])
