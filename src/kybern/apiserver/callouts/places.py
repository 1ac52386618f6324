"""Where a webhook's configuration leads: a URL, or a Service of the cluster, to a ready endpoint of it.

A certificate is asked for the name that was written: `<service>.<namespace>.svc`, or the URL's host; the address behind it
is found by us. Loopback may be named by a URL or by a Service's external name (a server beside ours, which its certificate
has to prove), but never by what users write into endpoints; link-local addresses, where clouds keep their secrets, by
nobody.
"""

import asyncio
import socket
from dataclasses import dataclass
from random import Random
from typing import Protocol
from urllib.parse import quote, urlsplit

from kybern.api.core_v1 import Endpoints, Service
from kybern.apiserver.connections.places import name_of_port, places
from kybern.apiserver.request import Objects
from kybern.web.addresses import address_of, is_own

HTTPS_PORT = 443
PATH_SAFE = "/:@!$&'()*+,;=~%"


class ServiceReference(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def port(self) -> int | None: ...


class ClientConfig(Protocol):
    """`WebhookClientConfig` of admission and of custom resources: alike, but of two groups."""

    @property
    def ca_bundle(self) -> str | None: ...
    @property
    def service(self) -> ServiceReference | None: ...
    @property
    def url(self) -> str | None: ...


class Unreachable(Exception):
    """There is no place to call."""


@dataclass(frozen=True, slots=True)
class Place:
    host: str
    """An address, or a name to look up."""
    port: int
    name: str
    """Which the server's certificate must be for."""
    authority: str
    path: str
    query: str = ""

    @property
    def url(self) -> str:
        """As messages show it."""
        return f"https://{self.authority}{self.path}"


def place_of(config: ClientConfig, objects: Objects, rng: Random) -> Place:
    service = config.service
    if service is None:
        return of_url(config.url or "")
    name, port = f"{service.name}.{service.namespace}.svc", service.port or HTTPS_PORT
    path = "/" + quote((service.path or "").lstrip("/"), safe=PATH_SAFE)
    host, at = endpoint(objects, service.namespace, service.name, port, rng)
    return Place(host, at, name, f"{name}:{port}", path)


def of_url(text: str) -> Place:
    try:
        url = urlsplit(text)
        port = url.port or HTTPS_PORT
    except ValueError:
        raise Unreachable(f"{text!r} is no URL") from None
    host = url.hostname or ""
    if url.scheme != "https" or not host or url.username is not None or url.fragment:
        raise Unreachable(f"{text!r} is no URL of an HTTPS server")
    return Place(host, port, host, url.netloc, quote(url.path, safe=PATH_SAFE) or "/", url.query)


def endpoint(objects: Objects, namespace: str, name: str, port: int, rng: Random) -> tuple[str, int]:
    """An address and port behind a Service's port; it need not be one of this node's Services rules' making."""
    service = objects.get(Service, name, namespace)
    if service is None:
        raise Unreachable(f'service "{name}" not found')
    if service.spec.type == "ExternalName":
        return service.spec.external_name or "", port
    port_name, endpoints = name_of_port(service, port), objects.get(Endpoints, name, namespace)
    if port_name is None:
        raise Unreachable(f'no service port {port} found for service "{name}"')
    found = [
        (one.ip, at)
        for one, at in (places(endpoints, port_name) if endpoints is not None else ())
        if (address := address_of(one.ip)) is not None and not is_own(address)
    ]
    if not found:
        raise Unreachable(f'no endpoints available for service "{name}"')
    return rng.choice(found)


async def looked_up(host: str, port: int, *, loopback: bool = True) -> str:
    """The address to connect to; whether it may be one of loopback is up to who names it."""
    address = address_of(host)
    if address is None:
        try:
            answers = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"lookup {host}: {error.strerror or error}") from None
        address = address_of(str(answers[0][4][0]))
    if address is None or (is_own(address) and not (loopback and address.is_loopback)):
        raise Unreachable(f"dial tcp {host}: address not allowed")
    return str(address)
