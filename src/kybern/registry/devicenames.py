"""What everything about devices names alike: drivers, pools, attributes, and configuration that only a driver understands."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, invalid_value, required, too_long
from kybern.api.resource_v1 import DeviceRequest, OpaqueDeviceConfiguration
from kybern.registry.checks import repeated
from kybern.registry.drivers import validate_driver_name

POOL_BYTES_MAX = 253
IDENTIFIER_BYTES_MAX = 32
CONFIGURATION_BYTES_MAX = 10 * 1024
NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
NOT_QUALIFIED = "a fully qualified name must be a domain and a name separated by a slash"


def validate_pool_name(pool: str, at: str) -> Iterator[FieldError]:
    if not pool:
        yield required(at)
        return
    if len(pool) > POOL_BYTES_MAX:
        yield too_long(at, pool, POOL_BYTES_MAX)
    for part in pool.split("/"):
        for wrong in names.dns1123_subdomain(part):
            yield invalid_value(at, part, wrong)


def validate_qualified(name: str, at: str) -> Iterator[FieldError]:
    """`numa`, or `gpu.example.com/numa`: whose the attribute is, and its own name."""
    domain, slash, own = name.partition("/")
    if not slash:
        yield from validate_identifier(name, at)
        return
    if "/" in own:
        yield invalid_value(at, name, "must not contain more than one slash")
        return
    if not domain:
        yield invalid_value(at, "", "the domain must not be empty")
    else:
        yield from validate_driver_name(domain, at)
    if not own:
        yield invalid_value(at, "", "the name must not be empty")
    else:
        yield from validate_identifier(own, at)


def validate_fully_qualified(name: str, at: str) -> Iterator[FieldError]:
    yield from validate_qualified(name, at)
    if "/" not in name:
        yield invalid_value(at, name, NOT_QUALIFIED)


def validate_identifier(text: str, at: str) -> Iterator[FieldError]:
    if len(text) > IDENTIFIER_BYTES_MAX:
        yield too_long(at, text, IDENTIFIER_BYTES_MAX)
    for wrong in names.c_identifier(text):
        yield invalid_value(at, text, wrong)


def validate_opaque(opaque: OpaqueDeviceConfiguration | None, at: str) -> Iterator[FieldError]:
    if opaque is None:
        yield required(at)
        return
    yield from validate_driver_name(opaque.driver, f"{at}.driver")
    yield from validate_raw(opaque.parameters, f"{at}.parameters")


def validate_raw(value: Any, at: str) -> Iterator[FieldError]:
    """A JSON object, whatever it says, and not too long."""
    if value is None:
        yield required(at)
    elif len(msgspec.json.encode(value)) > CONFIGURATION_BYTES_MAX:
        yield too_long(at, "", CONFIGURATION_BYTES_MAX)
    elif not isinstance(value, Mapping):
        yield invalid_value(at, "<value omitted>", "must be a valid JSON object")


def request_names(requests: tuple[DeviceRequest, ...]) -> set[str]:
    """What the rest of a claim may refer to: `gpu`, and `gpu/large` for one of its alternatives."""
    found = {request.name for request in requests}
    return found | {f"{request.name}/{one.name}" for request in requests for one in request.first_available or ()}


def validate_refs(refs: tuple[str, ...], known: set[str], at: str) -> Iterator[FieldError]:
    again = repeated(refs)
    for index, ref in enumerate(refs):
        yield from validate_ref(ref, known, f"{at}[{index}]")
        if index in again:
            yield duplicate(f"{at}[{index}]", ref)


def validate_ref(ref: str, known: set[str], at: str) -> Iterator[FieldError]:
    parts = ref.split("/")
    for part in parts if len(parts) <= 2 else ():
        for wrong in names.dns1123_label(part):
            yield invalid_value(at, part, wrong)
    if ref not in known:
        yield invalid_value(at, ref, NO_REQUEST)
