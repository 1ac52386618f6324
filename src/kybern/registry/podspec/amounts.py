"""Requests and limits: known names, whole numbers where things cannot be shared, no request above its limit."""

from collections.abc import Iterator, Mapping

from kybern.api import names, quantity
from kybern.api.core_v1 import ResourceRequirements
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, not_found_value, required
from kybern.api.shape import Quantity
from kybern.registry.checks import NOT_NEGATIVE, named

STANDARD = ("cpu", "memory", "ephemeral-storage")
OTHER_STANDARD = ("storage", "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps")
NANO = quantity.NANO

Amounts = Mapping[str, Quantity]


def is_huge(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    return "/" not in name or name.partition("/")[0].endswith("kubernetes.io")


def is_extended(name: str) -> bool:
    return not is_native(name) and not name.startswith("requests.")


def validate_resources(
    resources: ResourceRequirements, at: str, claims: tuple[str, ...] | None = None
) -> Iterator[FieldError]:
    limits, requests = resources.limits or {}, resources.requests or {}
    for name, amount in limits.items():
        yield from validate_amount(name, amount, f"{at}.limits")
    for name, amount in requests.items():
        yield from validate_amount(name, amount, f"{at}.requests")
        yield from validate_within_limit(name, amount, limits, at)
    names_used = {*limits, *requests}
    if any(map(is_huge, names_used)) and not {"cpu", "memory"} & names_used:
        yield forbidden_field(at, "HugePages require cpu or memory")
    for index, claim in enumerate(resources.claims or ()):
        yield from named(f"{at}.claims[{index}].name", claim.name, names.dns1123_label)
        if claims is not None and claim.name and claim.name not in claims:
            yield not_found_value(f"{at}.claims[{index}]", claim)


def validate_amount(name: str, amount: Quantity, at: str) -> Iterator[FieldError]:
    if name not in STANDARD:
        yield from validate_resource_name(name, at)
    nano = quantity.parse(amount).nano
    if nano < 0:
        yield invalid_value(f"{at}[{name}]", amount, NOT_NEGATIVE)
    if name not in STANDARD and is_extended(name) and nano % NANO:
        yield invalid_value(f"{at}[{name}]", amount, "must be an integer")


def validate_resource_name(name: str, at: str) -> Iterator[FieldError]:
    yield from named(at, name, names.qualified_name)
    if "/" in name or is_huge(name):
        return
    if name not in OTHER_STANDARD:
        yield invalid_value(at, name, "must be a standard resource type or fully qualified")
    yield invalid_value(at, name, "must be a standard resource for containers")


def validate_within_limit(name: str, amount: Quantity, limits: Amounts, at: str) -> Iterator[FieldError]:
    limit = limits.get(name)
    shared = name in STANDARD or (is_native(name) and not is_huge(name))
    if limit is None:
        if not shared:
            yield required(f"{at}.limits", "Limit must be set for non overcommitable resources")
    elif amount == limit:
        return
    elif not shared and quantity.compare(amount, limit) != 0:
        yield invalid_value(f"{at}.requests", amount, f"must be equal to {name} limit of {limit}")
    elif shared and quantity.compare(amount, limit) > 0:
        yield invalid_value(f"{at}.requests", amount, f"must be less than or equal to {name} limit of {limit}")
