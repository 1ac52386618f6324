"""pods/proxy, services/proxy, nodes/proxy: HTTP to what runs in the cluster, through the API server.

    /api/v1/namespaces/{ns}/services/{scheme:}{name}{:port}/proxy/{path}

What may be reached are addresses of pods, and nodes' kubelets: never this machine's own loopback or link-local services,
whatever address somebody writes into a status.
"""

import re
import ssl

from msgspec.structs import replace

from kybern.aio.ids import Ids
from kybern.api.core_v1 import EndpointAddress, Endpoints, Node, Pod, Service
from kybern.api.errors import About, ServiceUnavailable, not_found
from kybern.api.numbers import integer
from kybern.apiserver.connections.kubelets import Address, Kubelets, host_of
from kybern.apiserver.connections.passing import forwarded, upgraded
from kybern.apiserver.connections.places import (
    check_host,
    first_port,
    name_of_port,
    number_of,
    places,
    taken_apart,
)
from kybern.apiserver.connections.rewriting import Rewriting, rewritten
from kybern.apiserver.request import ApiRequest, Objects
from kybern.web.client import Client
from kybern.web.http import Response
from kybern.web.passing import wants_upgrade
from kybern.web.tls import client_context

ENCODED_SLASH = re.compile("%2f", re.IGNORECASE)


class Proxy:
    def __init__(self, objects: Objects, kubelets: Kubelets, ids: Ids) -> None:
        self.objects = objects
        self.kubelets = kubelets
        self.ids = ids
        self.unverified: ssl.SSLContext | None = None

    async def pod(self, request: ApiRequest) -> Response:
        named = taken_apart(request.attributes.name, "pod")
        pod = self.objects.get(Pod, named.name, request.attributes.namespace)
        if pod is None:
            raise not_found(About(resource="pods", name=named.name))
        host = pod.status.pod_ip or ""
        check_host(host)
        return await self._to(request, named.scheme, host, number_of(named.port or first_port(pod, named.scheme)))

    async def service(self, request: ApiRequest) -> Response:
        named, namespace = taken_apart(request.attributes.name, "service"), request.attributes.namespace
        port_name: str | None = named.port
        number = integer(named.port)
        if number is not None:
            service = self.objects.get(Service, named.name, namespace)
            if service is None:
                raise not_found(About(resource="services", name=named.name))
            port_name = name_of_port(service, number)
            if port_name is None:
                raise ServiceUnavailable(f'no service port {number} found for service "{named.name}"')
        endpoints = self.objects.get(Endpoints, named.name, namespace)
        if endpoints is None:
            raise not_found(About(resource="endpoints", name=named.name))
        found = [*places(endpoints, port_name or "")]
        self.ids.rng.shuffle(found)  # and as few pods as possible are looked at
        place = next((place for place in found if self._is_pods(place[0], namespace)), None)
        if place is None:
            told = named.name if not endpoints.subsets else request.attributes.name
            raise ServiceUnavailable(f'no endpoints available for service "{told}"')
        address, port = place
        check_host(address.ip)
        return await self._to(request, named.scheme, address.ip, port)

    def _is_pods(self, address: EndpointAddress, namespace: str) -> bool:
        """Whether it is the address of the pod that it names, as whoever writes endpoints may name any address."""
        target = address.target_ref
        if target is None or target.namespace != namespace:
            return False
        pod = self.objects.get(Pod, target.name or "", namespace)
        return pod is not None and address.ip in (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips or ()))

    async def node(self, request: ApiRequest) -> Response:
        named = taken_apart(request.attributes.name, "node")
        node = self.objects.get(Node, named.name)
        if node is None:
            raise not_found(About(resource="nodes", name=named.name))
        kubelet = self.kubelets.address(named.name)
        if named.port in ("", str(kubelet.port)):
            return await passed(request, self.kubelets.client(kubelet))
        host = host_of(node) or ""
        check_host(host)
        return await self._to(request, named.scheme, host, number_of(named.port))

    async def _to(self, request: ApiRequest, scheme: str, host: str, port: int) -> Response:
        place = Address(host, port)
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
