"""Requests and limits: known names, whole numbers where things cannot be shared, no request above its limit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kybern.api import names, quantity
from kybern.api.core_v1 import PodSpec, ResourceClaim, ResourceRequirements
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_found_value, required
from kybern.api.invalid import not_supported as unsupported
from kybern.api.shape import Quantity
from kybern.registry.checks import NOT_NEGATIVE
from kybern.registry.podspec.demand import total_requests

COMPUTE = ("cpu", "memory")
CLAIMS_LISTED_MAX = 100  # by each name that is none of them
STANDARD = (*COMPUTE, "ephemeral-storage")
OTHER_STANDARD = (
    "storage", "requests.cpu", "requests.memory", "requests.storage", "limits.cpu", "limits.memory",
    "requests.ephemeral-storage", "limits.ephemeral-storage", "pods", "services", "replicationcontrollers",
    "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims", "services.nodeports",
    "services.loadbalancers",
)  # fmt: skip
COUNTED = (
    "pods", "services", "replicationcontrollers", "resourcequotas", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip
NANO = quantity.NANO

Amounts = Mapping[str, Quantity]


def is_huge(name: str) -> bool:
    return name.startswith("hugepages-")


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    return not is_native(name) and not name.startswith("requests.") and not names.qualified_name(f"requests.{name}")


def is_shared(name: str) -> bool:
    """Whether more of it may be limited than requested."""
    return is_native(name) and not is_huge(name)


@dataclass(frozen=True, slots=True)
class Claims:
    """Those of a pod, gathered once for all of its containers."""

    names: frozenset[str] = frozenset()
    listed: str = " which is empty"


NO_CLAIMS = Claims()


def claims_of(spec: PodSpec) -> Claims:
    found = frozenset(claim.name for claim in spec.resource_claims or () if claim.name)
    return Claims(found, f": {', '.join(sorted(found)[:CLAIMS_LISTED_MAX])}") if found else NO_CLAIMS


def validate_resources(
    resources: ResourceRequirements, at: str, claims: Claims = NO_CLAIMS, whole_pod: bool = False
) -> Iterator[FieldError]:
    limits, requests = resources.limits or {}, resources.requests or {}
    for name, amount in limits.items():
        yield from validate_amount(name, amount, f"{at}.limits[{name}]", whole_pod)
    for name, amount in requests.items():
        yield from validate_amount(name, amount, f"{at}.requests[{name}]", whole_pod)
        yield from validate_within_limit(name, amount, limits, at)
    names_used = {*limits, *requests}
    if any(map(is_huge, names_used)) and not names_used.intersection(COMPUTE):
        yield forbidden_field(at, "HugePages require cpu or memory")
    if resources.claims:
        yield from validate_claims(resources.claims, claims, f"{at}.claims")


def validate_amount(name: str, amount: Quantity, at: str, whole_pod: bool = False) -> Iterator[FieldError]:
    if whole_pod:
        yield from validate_pod_resource_name(name, at)
    elif name not in STANDARD:
        yield from validate_container_resource_name(name, at)
    yield from validate_value(name, amount, at)
    if is_huge(name) and not is_multiple(name, amount):
        yield invalid_value(at, amount, f"{amount} is not positive integer multiple of {name}")


def validate_value(name: str, amount: Quantity, at: str) -> Iterator[FieldError]:
    """Not less than nothing, and whole where halves make no sense."""
    nano = quantity.parse(amount).nano
    if nano < 0:
        yield invalid_value(at, amount, NOT_NEGATIVE)
    if nano % NANO and (name in COUNTED or is_extended(name)):
        yield invalid_value(at, amount, "must be an integer")


def is_multiple(name: str, amount: Quantity) -> bool:
    try:
        size = quantity.parse(name.removeprefix("hugepages-")).nano
    except ValueError:
        return False
    nano = quantity.parse(amount).nano
    return size > 0 and nano >= 0 and nano % size == 0


def validate_resource_name(name: str, at: str) -> Iterator[FieldError]:
    wrong = names.qualified_name(name)
    for text in wrong:
        yield invalid_value(at, name, text)
    if not wrong and "/" not in name and not is_huge(name) and name not in STANDARD and name not in OTHER_STANDARD:
        yield invalid_value(at, name, "must be a standard resource type or fully qualified")


def validate_container_resource_name(name: str, at: str) -> Iterator[FieldError]:
    yield from validate_resource_name(name, at)
    if "/" not in name:
        if name not in STANDARD and not is_huge(name):
            yield invalid_value(at, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield invalid_value(at, name, "doesn't follow extended resource name standard")


def validate_pod_resource_name(name: str, at: str) -> Iterator[FieldError]:
    wrong = list(validate_resource_name(name, at))
    yield from wrong
    if not wrong and name not in COMPUTE and not is_huge(name):
        yield unsupported(at, name, COMPUTE)


def validate_within_limit(name: str, amount: Quantity, limits: Amounts, at: str) -> Iterator[FieldError]:
    limit = limits.get(name)
    if limit is None:
        if not is_shared(name):
            yield required(f"{at}.limits", "Limit must be set for non overcommitable resources")
    elif amount == limit:
        return
    elif not is_shared(name) and quantity.compare(amount, limit) != 0:
        yield invalid_value(f"{at}.requests", amount, f"must be equal to {name} limit of {limit}")
    elif quantity.compare(amount, limit) > 0:
        yield invalid_value(f"{at}.requests", amount, f"must be less than or equal to {name} limit of {limit}")


def validate_claims(found: tuple[ResourceClaim, ...], claims: Claims, at: str) -> Iterator[FieldError]:
    """Each is one of the pod's; a claim is named once, as a whole or by requests."""
    seen: set[str] = set()
    by_request: set[str] = set()
    for index, claim in enumerate(found):
        here, name = f"{at}[{index}]", claim.name
        if not name:
            yield required(here)
            continue
        key = f"{name}/{claim.request}" if claim.request else name
        if name in seen:
            yield duplicate(here, name)
        else:
            for wrong in names.dns1123_label(claim.request) if claim.request else ():
                yield invalid_value(f"{here}.request", claim.request, wrong)
            if key in seen or (not claim.request and name in by_request):
                yield duplicate(here, key)
            seen.add(key)
            if claim.request:
                by_request.add(name)
        if name not in claims.names:
            yield not_found_value(here, name, f"must be one of the names in pod.spec.resourceClaims{claims.listed}")


def validate_pod_resources(spec: PodSpec, at: str) -> Iterator[FieldError]:
    """What the pod as a whole asks for is enough for its containers, and no container may use more."""
    resources = spec.resources
    if resources is None:
        return
    if resources.claims:
        yield forbidden_field(f"{at}.claims", "claims cannot be set for Resources at pod-level")
    yield from validate_resources(resources, at, claims_of(spec), True)
    requests, limits = resources.requests or {}, resources.limits or {}
    for name, total in total_requests(spec).items():
        if quantity.compare(total, requests.get(name, "0")) > 0:
            why = f"must be greater than or equal to aggregate container requests of {total}"
            yield invalid_value(f"{at}.requests[{name}]", requests.get(name, "0"), why)
    for index, container in enumerate(spec.containers):
        for name, limit in (container.resources.limits or {} if container.resources is not None else {}).items():
            if name in limits and quantity.compare(limit, limits[name]) > 0:
                why = f"must be less than or equal to pod limits of {limits[name]}"
                yield invalid_value(f"{at}.containers[{index}][{name}].limits", limit, why)
