"""The outermost step: an HTTP request becomes an ApiRequest. Nothing is decided here."""

from collections.abc import Callable
from typing import TypeVar

from msgspec.structs import replace

from kybern.api.selectors import EVERYTHING, FieldSelector, parse_fields, parse_labels
from kybern.apiserver.options import flag, one
from kybern.apiserver.paths import Address, Paths, is_plain, verb_of
from kybern.apiserver.request import ANONYMOUS, ApiRequest, Attributes
from kybern.apiserver.storage import GroupVersionResource
from kybern.registry.resource import Resource
from kybern.web.http import Request

Lookup = Callable[[GroupVersionResource], Resource | None]

T = TypeVar("T")

OF_COLLECTIONS = ("list", "watch", "deletecollection")
CARRIED = ("exec", "attach", "portforward")
"""Whoever may open these may act in the container, also when WebSocket's handshake makes it a GET."""

SELECTOR_CHARS_MAX = 16_384
"""It is not known yet who asks: a longer one costs nobody anything, and restricts nothing."""

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
    attributes = Attributes(
        user=ANONYMOUS,
        verb=verb,
        path=http.path,
        group=address.group,
        version=address.version,
        resource=address.resource,
        subresource=address.subresource,
        namespace=address.namespace,
        name=address.name,
    )
    return restricted(attributes, params) if params and verb in OF_COLLECTIONS else attributes


def restricted(attributes: Attributes, params: dict[str, list[str]]) -> Attributes:
    """With its selectors, read as the listing will read them; one that makes no sense restricts nothing, and is refused
    there. A collection restricted to one name is authorized as that name."""
    fields = understood(parse_fields, one(params, "fieldSelector"), FieldSelector())
    labels = understood(parse_labels, one(params, "labelSelector"), EVERYTHING)
    if fields.everything and labels.everything:
        return attributes
    name = fields.exact("metadata.name") or ""
    return replace(
        attributes,
        name=attributes.name or (name if is_plain(name) else ""),
        fields=fields.requirements,
        labels=labels.requirements,
    )


def understood(parse: Callable[[str], T], text: str, otherwise: T) -> T:
    try:
        return parse(text) if 0 < len(text) <= SELECTOR_CHARS_MAX else otherwise
    except ValueError:
        return otherwise
