"""The outermost step: an HTTP request becomes an ApiRequest. Nothing is decided here."""

from collections.abc import Callable

from kybern.apiserver.options import flag
from kybern.apiserver.paths import Address, Paths, verb_of
from kybern.apiserver.request import ANONYMOUS, ApiRequest, Attributes
from kybern.apiserver.storage import GroupVersionResource
from kybern.registry.resource import Resource
from kybern.web.http import Request

Lookup = Callable[[GroupVersionResource], Resource | None]

CARRIED = ("exec", "attach", "portforward")
"""Whoever may open these may act in the container, also when WebSocket's handshake makes it a GET."""

NO_PARAMS: dict[str, list[str]] = {}


class Understand:
    def __init__(self, lookup: Lookup) -> None:
        self.paths = Paths()
        self.lookup = lookup

    def __call__(self, http: Request) -> ApiRequest:
        params = http.params() if http.query else NO_PARAMS
        address = self.paths.address(http.path)
        if address is None:
            verb = "get" if http.method == "HEAD" else http.method.lower()
            attributes = Attributes(user=ANONYMOUS, verb=verb, path=http.path)
            return ApiRequest(http=http, attributes=attributes, params=params)
        resource = self.lookup((address.group, address.version, address.resource))
        request = ApiRequest(http=http, attributes=attributes_of(http, address, params), params=params)
        request.address = address
        request.resource = resource
        if resource is not None and address.subresource:
            request.subresource = next((sub for sub in resource.subresources if sub.name == address.subresource), None)
        return request


def attributes_of(http: Request, address: Address, params: dict[str, list[str]]) -> Attributes:
    watching = bool(params) and flag(params, "watch")
    verb = "create" if address.subresource in CARRIED else verb_of(http.method, address, watching)
    return Attributes(
        user=ANONYMOUS,
        verb=verb,
        path=http.path,
        group=address.group,
        version=address.version,
        resource=address.resource,
        subresource=address.subresource,
        namespace=address.namespace,
        name=address.name or (name_in(params) if params and verb in ("list", "watch", "deletecollection") else ""),
        field_selector=",".join(params.get("fieldSelector", ())) if params else "",
    )


def name_in(params: dict[str, list[str]]) -> str:
    """A collection restricted to one name is authorized as that name."""
    for text in params.get("fieldSelector", ()):
        for term in text.split(","):
            path, _, value = term.partition("=")
            if path == "metadata.name" and value.lstrip("="):
                return value.lstrip("=")
    return ""
