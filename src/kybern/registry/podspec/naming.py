"""How a pod is found and what it resolves: hostname, host aliases, DNS policy and settings."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import HostAlias, PodDNSConfig, PodSpec
from kybern.api.invalid import FieldError, invalid_value, required
from kybern.registry.checks import judged, one_of

DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_CHARACTERS_MAX = 2048


def validate_naming(spec: PodSpec, at: str) -> Iterator[FieldError]:
    yield from one_of(f"{at}.dnsPolicy", spec.dns_policy, DNS_POLICIES)
    yield from judged(f"{at}.hostname", spec.hostname, names.dns1123_label)
    yield from judged(f"{at}.subdomain", spec.subdomain, names.dns1123_label)
    if spec.host_aliases:
        yield from validate_host_aliases(spec.host_aliases, f"{at}.hostAliases")
    config = spec.dns_config
    if spec.dns_policy == "None":
        if config is None:
            yield required(f"{at}.dnsConfig", "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not config.nameservers:
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{at}.dnsConfig.nameservers", why)
    if config is not None:
        yield from validate_dns_config(config, f"{at}.dnsConfig")


def validate_host_aliases(aliases: tuple[HostAlias, ...], at: str) -> Iterator[FieldError]:
    for index, alias in enumerate(aliases):
        for wrong in names.ip(alias.ip):
            yield invalid_value(f"{at}[{index}].ip", alias.ip, wrong)
        for place, hostname in enumerate(alias.hostnames or ()):
            for wrong in names.dns1123_subdomain(hostname):
                yield invalid_value(f"{at}[{index}].hostnames[{place}]", hostname, wrong)


def validate_dns_config(config: PodDNSConfig, at: str) -> Iterator[FieldError]:
    nameservers, searches = config.nameservers or (), config.searches or ()
    if len(nameservers) > NAMESERVERS_MAX:
        yield invalid_value(f"{at}.nameservers", nameservers, f"must not have more than {NAMESERVERS_MAX} nameservers")
    for index, nameserver in enumerate(nameservers):
        for wrong in names.ip(nameserver):
            yield invalid_value(f"{at}.nameservers[{index}]", nameserver, wrong)
    if len(searches) > SEARCHES_MAX:
        yield invalid_value(f"{at}.searches", searches, f"must not have more than {SEARCHES_MAX} search paths")
    if len(" ".join(searches)) > SEARCH_CHARACTERS_MAX:
        why = f"must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list"
        yield invalid_value(f"{at}.searches", searches, why)
    for index, search in enumerate(searches):
        if search == ".":
            continue
        for wrong in names.dns1123_subdomain(search.removesuffix(".").replace("_", "-")):
            yield invalid_value(f"{at}.searches[{index}]", search, wrong)
    for index, option in enumerate(config.options or ()):
        if not option.name:
            yield required(f"{at}.options[{index}]", "must not be empty")
