"""The audit policy (audit.k8s.io/v1): how much is written down of which requests. The first rule that fits decides."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.api import yaml
from kybern.apiserver.request import Attributes

ALL = "*"
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")


class Level(IntEnum):
    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


LEVELS = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.REQUEST_RESPONSE,
}
NAMES = {level: name for name, level in LEVELS.items()}


class PolicyError(Exception):
    """The policy cannot be read, or says something that makes no sense; the message says what."""


class GroupResources(Struct, frozen=True, rename="camel"):
    group: str = ""
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()


class Rule(Struct, frozen=True, rename="camel"):
    level: str
    users: tuple[str, ...] = ()
    user_groups: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    resources: tuple[GroupResources, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = field(default=(), name="nonResourceURLs")
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool | None = None


class Policy(Struct, frozen=True, rename="camel"):
    rules: tuple[Rule, ...]
    omit_stages: tuple[str, ...] = ()
    omit_managed_fields: bool = False
    kind: str = "Policy"
    api_version: str = "audit.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Decided:
    level: Level
    omit_stages: frozenset[str]
    omit_managed_fields: bool


NOTHING = Decided(Level.NONE, frozenset(), False)


def read_policy(text: bytes) -> Policy:
    try:
        value: Any = yaml.parse(text)[0]
        policy = msgspec.convert(value, Policy)
    except (yaml.NotYaml, msgspec.ValidationError) as error:
        raise PolicyError(str(error)) from None
    if (policy.kind, policy.api_version) != ("Policy", "audit.k8s.io/v1"):
        raise PolicyError(f"no Policy of audit.k8s.io/v1, but {policy.kind} of {policy.api_version}")
    if not policy.rules:
        raise PolicyError("an audit policy must have at least one rule")
    for wrong in wrong_with(policy):
        raise PolicyError(wrong)
    return policy


def wrong_with(policy: Policy) -> Iterable[str]:
    stages = [*policy.omit_stages, *(stage for rule in policy.rules for stage in rule.omit_stages)]
    yield from (f"unknown stage {stage!r}" for stage in stages if stage not in STAGES)
    for number, rule in enumerate(policy.rules):
        if rule.level not in LEVELS:
            yield f"rules[{number}].level: unknown level {rule.level!r}"
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            yield f"rules[{number}]: rules cannot apply to both regular resources and non-resource URLs"
        for url in rule.non_resource_urls:
            if url != ALL and (not url.startswith("/") or ALL in url[:-1]):
                yield f"rules[{number}].nonResourceURLs: {url!r} must start with a / and may have one * at its end"


def decide(policy: Policy, attributes: Attributes) -> Decided:
    for rule in policy.rules:
        if fits(rule, attributes):
            omitted = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
            return Decided(LEVELS[rule.level], frozenset((*policy.omit_stages, *rule.omit_stages)), omitted)
    return NOTHING


def fits(rule: Rule, a: Attributes) -> bool:
    if rule.users and a.user.name not in rule.users:
        return False
    if rule.user_groups and not any(group in rule.user_groups for group in a.user.groups):
        return False
    if rule.verbs and a.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return a.is_resource and fits_resource(rule, a)
    if rule.non_resource_urls:
        return not a.is_resource and any(fits_url(url, a.path) for url in rule.non_resource_urls)
    return True


def fits_resource(rule: Rule, a: Attributes) -> bool:
    if rule.namespaces and a.namespace not in rule.namespaces:
        return False
    return not rule.resources or any(
        one.group == a.group
        and (
            not one.resources
            or ((not one.resource_names or a.name in one.resource_names) and any(takes(r, a) for r in one.resources))
        )
        for one in rule.resources
    )


def takes(listed: str, a: Attributes) -> bool:
    """`pods`, `pods/log`, `pods/*`, `*/status` or `*`."""
    whole = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    if listed in (ALL, whole):
        return True
    resource, _, subresource = listed.partition("/")
    if subresource == ALL:
        return resource == a.resource
    return resource == ALL and bool(a.subresource) and subresource == a.subresource


def fits_url(url: str, path: str) -> bool:
    return url == path or (url.endswith(ALL) and path.startswith(url[:-1]))
