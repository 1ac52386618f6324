"""What a pod resolves: host aliases, DNS policy and settings."""

from collections.abc import Iterator

from kybern.api import names
from kybern.api.core_v1 import HostAlias, PodDNSConfig, PodSpec
from kybern.api.invalid import FieldError, invalid_value, required

DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
NAMESERVERS_MAX = 3
SEARCHES_MAX = 32
SEARCH_CHARACTERS_MAX = 2048


def validate_dns(spec: PodSpec, at: str) -> Iterator[FieldError]:
    config = spec.dns_config
    if spec.dns_policy == "None" and (config is None or not config.nameservers):
        if config is None:
            yield required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
        else:
            yield required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
    elif config is not None:
        yield from validate_dns_config(config, at)


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
        search = search.removesuffix(".")
        for wrong in names.underscored_subdomain(search):
            yield invalid_value(f"{at}.searches[{index}]", search, wrong)
    for index, option in enumerate(config.options or ()):
        if not option.name:
            yield required(f"{at}.options[{index}]", "must not be empty")
