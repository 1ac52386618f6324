"""Which address families a Service has: what it asks for, what the cluster offers, and what it had before.

- `ipFamilyPolicy` decides between one family and two; who says nothing gets one, in the cluster's first family.
- The first family never changes. A second one comes when the policy asks for two and goes when it asks for one; a
  Service is never widened or narrowed because the cluster has changed.
- Headless Services without a selector may have families that the cluster does not: somebody else fills in their endpoints.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from msgspec.structs import replace

from kybern.api.core_v1 import ServiceSpec
from kybern.api.invalid import FieldError, invalid_value

HEADLESS = "None"
SINGLE, PREFER, REQUIRE = "SingleStack", "PreferDualStack", "RequireDualStack"
OTHER = {"IPv4": "IPv6", "IPv6": "IPv4"}

POLICY = "spec.ipFamilyPolicy"


def with_families(
    spec: ServiceSpec, old: ServiceSpec | None, offered: Sequence[str]
) -> tuple[ServiceSpec, list[FieldError]]:
    """The families and the policy filled in, and what is wrong with what was asked for. `offered`: the cluster's, its own
    first."""
    if spec.type == "ExternalName" or (old is not None and is_settled(spec, old)):
        return spec, []
    if not spec.ip_family_policy:
        spec = replace(spec, ip_family_policy=policy_of(spec, old))
    if old is not None and spec.ip_family_policy == SINGLE:
        spec = narrowed(spec, old)
    errors = [*contradictions(spec, old)]
    if not errors:
        spec = replace(spec, ip_families=told_by_addresses(spec, offered, errors) or None)
    if errors:
        return spec, errors
    if spec.cluster_ip == HEADLESS and not spec.selector:
        return widened(replace(spec, ip_families=spec.ip_families or (offered[0],)), ("IPv4", "IPv6")), []
    errors += not_offered(spec, offered)
    if errors:
        return spec, errors
    return widened(replace(spec, ip_families=spec.ip_families or (offered[0],)), offered), []


def is_settled(spec: ServiceSpec, old: ServiceSpec) -> bool:
    """A Service that merely prefers two families is left as it is until somebody changes what it says of them."""
    return (
        old.ip_family_policy == spec.ip_family_policy == PREFER
        and bool(old.cluster_ips and old.ip_families)
        and old.cluster_ips == spec.cluster_ips
        and old.ip_families == spec.ip_families
    )


def policy_of(spec: ServiceSpec, old: ServiceSpec | None) -> str:
    if old is not None and old.ip_family_policy:
        return old.ip_family_policy
    return REQUIRE if spec.cluster_ip == HEADLESS and not spec.selector else SINGLE


def narrowed(spec: ServiceSpec, old: ServiceSpec) -> ServiceSpec:
    """Who asks for one family and sends the rest back as it was, means the first."""
    addresses, families = spec.cluster_ips, spec.ip_families
    if addresses and addresses == old.cluster_ips:
        addresses = addresses[:1]
    if families and families == old.ip_families:
        families = families[:1]
    return replace(spec, cluster_ips=addresses, ip_families=families)


def contradictions(spec: ServiceSpec, old: ServiceSpec | None) -> Iterator[FieldError]:
    addresses, families, policy = spec.cluster_ips or (), spec.ip_families or (), spec.ip_family_policy
    if policy == SINGLE:
        needed = "must be 'RequireDualStack' or 'PreferDualStack' when multiple"
        if len(addresses) == 2:
            yield invalid_value(POLICY, policy, f"{needed} cluster IPs are specified")
        if len(families) == 2:
            yield invalid_value(POLICY, policy, f"{needed} IP families are specified")
    elif old is not None:
        for before, now, what in (
            (old.cluster_ips or (), addresses, "secondary cluster IP"),
            (old.ip_families or (), families, "secondary IP family"),
        ):
            if len(before) == 2 and now == before[:1]:
                yield invalid_value(POLICY, policy, f"must be 'SingleStack' to release the {what}")


def told_by_addresses(spec: ServiceSpec, offered: Sequence[str], errors: list[FieldError]) -> tuple[str, ...]:
    """Whoever names an address has named its family."""
    families = list(spec.ip_families or ())
    for index, address in enumerate(spec.cluster_ips or ()):
        family = family_of(address)
        if index < len(families) or not family:
            continue
        if family in offered:
            families.append(family)
        else:
            wrong = f"{family} is not configured on this cluster"
            errors.append(invalid_value(f"spec.clusterIPs[{index}]", list(spec.cluster_ips or ()), wrong))
    return tuple(families)


def not_offered(spec: ServiceSpec, offered: Sequence[str]) -> Iterator[FieldError]:
    if spec.ip_family_policy == REQUIRE and len(offered) < 2:
        yield invalid_value(POLICY, REQUIRE, "this cluster is not configured for dual-stack services")
    for index, family in enumerate(spec.ip_families or ()):
        if family not in offered:
            yield invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")


def widened(spec: ServiceSpec, offered: Sequence[str]) -> ServiceSpec:
    families = spec.ip_families or ()
    if spec.ip_family_policy == SINGLE or len(families) != 1 or len(offered) < 2:
        return spec
    return replace(spec, ip_families=(*families, OTHER[families[0]]))


def family_of(address: str) -> str:
    """Empty for what is no address."""
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return ""
