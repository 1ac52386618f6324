"""pods/proxy, services/proxy, nodes/proxy: HTTP to what runs in the cluster, through the API server.

    /api/v1/namespaces/{ns}/services/{scheme:}{name}{:port}/proxy/{path}

What may be reached are addresses of pods, and nodes' kubelets: never this machine's own loopback or link-local services,
whatever address somebody writes into a status.
"""

import re
import ssl
from dataclasses import dataclass

from msgspec.structs import replace

from kybern.aio.ids import Ids
from kybern.api.core_v1 import Endpoints, Node, Pod, Service
from kybern.api.errors import About, BadRequest, ServiceUnavailable, not_found
from kybern.apiserver.connections.kubelets import Address, Kubelets, host_of
from kybern.apiserver.connections.passing import forwarded, upgraded
from kybern.apiserver.connections.rewriting import Rewriting, rewritten
from kybern.apiserver.request import ApiRequest, Objects
from kybern.web.addresses import address_of, is_own, is_port
from kybern.web.client import Client
from kybern.web.http import Response
from kybern.web.passing import wants_upgrade
from kybern.web.tls import client_context

ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Named:
    """The name part of the address, taken apart."""

    scheme: str
    name: str
    port: str


class Proxy:
    def __init__(self, objects: Objects, kubelets: Kubelets, ids: Ids) -> None:
        self.objects = objects
        self.kubelets = kubelets
        self.ids = ids
        self.unverified: ssl.SSLContext | None = None

    async def pod(self, request: ApiRequest) -> Response:
        named = taken_apart(request.attributes.name)
        pod = self.objects.get(Pod, named.name, request.attributes.namespace)
        if pod is None:
            raise not_found(About(resource="pods", name=named.name))
        port = named.port or first_port(pod)
        return await self._to(request, named.scheme, pod.status.pod_ip or "", port)

    async def service(self, request: ApiRequest) -> Response:
        named, namespace = taken_apart(request.attributes.name), request.attributes.namespace
        service = self.objects.get(Service, named.name, namespace)
        if service is None:
            raise not_found(About(resource="services", name=named.name))
        endpoints = self.objects.get(Endpoints, named.name, namespace)
        found = places(service, endpoints, named.port)
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{request.attributes.name}"')
        host, port = self.ids.rng.choice(found)
        return await self._to(request, named.scheme, host, str(port))

    async def node(self, request: ApiRequest) -> Response:
        named = taken_apart(request.attributes.name)
        node = self.objects.get(Node, named.name)
        if node is None:
            raise not_found(About(resource="nodes", name=named.name))
        kubelet = self.kubelets.address(named.name)
        if named.port in ("", str(kubelet.port)):
            return await passed(request, self.kubelets.client(kubelet))
        return await self._to(request, named.scheme, host_of(node) or "", named.port)

    async def _to(self, request: ApiRequest, scheme: str, host: str, port: str) -> Response:
        check_place(host, port)
        place = Address(host, int(port))
        tls = self._unverified() if scheme == "https" else None
        client = Client(f"{scheme or 'http'}://{place}", ssl=tls, idle_connections_max=0)
        return await passed(request, client)

    def _unverified(self) -> ssl.SSLContext:
        """Pods have certificates of any kind, or of none that this server could know."""
        if self.unverified is None:
            self.unverified = client_context(verify=False)
        return self.unverified


async def passed(request: ApiRequest, client: Client) -> Response:
    address, http = request.address, request.http
    assert address is not None
    if not address.rest and http.method in ("GET", "HEAD"):
        return Response(301, {"Location": f"{http.path}/" + (f"?{http.query}" if http.query else "")})
    rest = passed_on(address.rest)
    if wants_upgrade(http):
        return await upgraded(client, http, rest, http.query)
    prefix = http.path.removesuffix(address.rest)
    told = {
        "x-forwarded-uri": http.path,
        "x-forwarded-host": http.headers.get("host", ""),
        "x-forwarded-proto": "https",
    }
    response = await forwarded(client, replace(http, headers={**http.headers, **told}), rest, http.query)
    hosts = frozenset((client.authority, http.headers.get("host", "")))
    return rewritten(response, Rewriting(prefix, hosts))


def passed_on(rest: str) -> str:
    """A slash that is written as its number is one, as upstream: the official Python client writes all of them so."""
    return ENCODED_SLASH.sub("/", rest) or "/"


def taken_apart(text: str) -> Named:
    parts = text.split(":")
    if len(parts) == 1:
        return Named("", text, "")
    if len(parts) == 2:
        return Named("", parts[0], parts[1])
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return Named(parts[0], parts[1], parts[2])
    raise BadRequest(f'invalid proxy name "{text}"')


def check_place(host: str, port: str) -> None:
    """BadRequest for an address that nothing in a cluster has."""
    address = address_of(host)
    if address is None or is_own(address) or not is_port(port):
        raise BadRequest("address not allowed")


def first_port(pod: Pod) -> str:
    ports = [port.container_port for container in pod.spec.containers for port in container.ports or ()]
    return str(ports[0]) if ports else "80"


def places(service: Service, endpoints: Endpoints | None, port: str) -> list[tuple[str, int]]:
    """The ready addresses behind a service's port, which is given by name, number or, if it has only one, not at all."""
    ports = service.spec.ports or ()
    wanted = [one for one in ports if port in (one.name or "", str(one.port)) or (not port and len(ports) == 1)]
    if not wanted or endpoints is None:
        return []
    name = wanted[0].name or ""
    return [
        (address.ip, found.port)
        for subset in endpoints.subsets or ()
        for found in subset.ports or ()
        if (found.name or "") == name
        for address in subset.addresses or ()
    ]
