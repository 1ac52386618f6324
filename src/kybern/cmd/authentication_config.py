"""AuthenticationConfiguration: any number of outside issuers, and where nobody in particular may come in.

The issuers may be others while the server runs; where nobody in particular may come in is settled when it starts, as upstream.
Claims are named, or computed by expressions; what is not understood of the file is refused, for it might have kept
somebody out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.api import yaml
from kybern.apiserver.auth.jwt_issuer import JwtSettings
from kybern.apiserver.request import User

EMAIL = re.compile(r"claims\.email\b")
VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")


class Strict(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A field that is not known is refused."""


class Issuer(Strict, frozen=True):
    url: str
    audiences: tuple[str, ...]
    discovery_url: str = field(default="", name="discoveryURL")
    certificate_authority: str = ""
    audience_match_policy: str = "MatchAny"


class Prefixed(Strict, frozen=True):
    claim: str = ""
    prefix: str | None = None
    expression: str = ""


class Claim(Strict, frozen=True):
    claim: str = ""
    expression: str = ""


class Extra(Strict, frozen=True):
    key: str
    value_expression: str


class Mappings(Strict, frozen=True):
    username: Prefixed
    groups: Prefixed = Prefixed()
    uid: Claim = Claim()
    extra: tuple[Extra, ...] = ()


class ClaimRule(Strict, frozen=True):
    claim: str = ""
    required_value: str = ""
    expression: str = ""
    message: str = ""


class UserRule(Strict, frozen=True):
    expression: str
    message: str = ""


class Jwt(Strict, frozen=True):
    issuer: Issuer
    claim_mappings: Mappings
    claim_validation_rules: tuple[ClaimRule, ...] = ()
    user_validation_rules: tuple[UserRule, ...] = ()


class Condition(Strict, frozen=True):
    path: str


class Anonymous(Strict, frozen=True):
    enabled: bool
    conditions: tuple[Condition, ...] = ()


class AuthenticationConfiguration(Strict, frozen=True):
    api_version: str
    kind: str
    jwt: tuple[Jwt, ...] = ()
    anonymous: Anonymous | None = None


@dataclass(frozen=True, slots=True)
class Configured:
    issuers: tuple[tuple[JwtSettings, bytes | None], ...] = ()
    """Each with the authority of its server, PEM; None for those that this machine trusts."""
    anonymous: Anonymous | None = None


def read_configuration(path: Path) -> Configured:
    """ValueError where it makes no sense."""
    return configuration_in(path.read_bytes(), path)


def configuration_in(text: bytes, path: Path) -> Configured:
    try:
        value: Any = yaml.parse(text)[0]
        found = msgspec.convert(value, AuthenticationConfiguration)
    except (yaml.NotYaml, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None
    if found.kind != "AuthenticationConfiguration" or found.api_version not in VERSIONS:
        raise ValueError(f"{path}: no AuthenticationConfiguration, but {found.kind} of {found.api_version}")
    try:
        issuers = tuple((settings_of(jwt), jwt.issuer.certificate_authority.encode() or None) for jwt in found.jwt)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    urls = [settings.url for settings, _ in issuers]
    for wrong in [why for settings, _ in issuers for why in settings.wrong()]:
        raise ValueError(f"{path}: {wrong}")
    if len(set(urls)) < len(urls):
        raise ValueError(f"{path}: two issuers have the same URL")
    return Configured(issuers, found.anonymous)


def settings_of(jwt: Jwt) -> JwtSettings:
    mappings, rules = jwt.claim_mappings, jwt.claim_validation_rules
    for wrong in wrong_with(jwt):
        raise ValueError(wrong)
    return JwtSettings(
        url=jwt.issuer.url,
        audiences=jwt.issuer.audiences,
        username_claim=mappings.username.claim,
        username_prefix=mappings.username.prefix or "",
        groups_claim=mappings.groups.claim,
        groups_prefix=mappings.groups.prefix or "",
        uid_claim=mappings.uid.claim,
        required_claims={rule.claim: rule.required_value for rule in rules if rule.claim},
        discovery_url=jwt.issuer.discovery_url,
        computed=computing(jwt) if expressions_of(jwt) else None,
    )


def wrong_with(jwt: Jwt) -> Iterator[str]:
    mappings, rules = jwt.claim_mappings, jwt.claim_validation_rules
    if not mappings.username.claim and not mappings.username.expression:
        yield "claimMappings.username: claim or expression is required"
    for name, one in (("username", mappings.username), ("groups", mappings.groups)):
        if one.claim and (one.prefix is None or one.expression):
            yield f"claimMappings.{name}: a claim has a prefix, which may be empty, and no expression"
        if one.expression and one.prefix is not None:
            yield f"claimMappings.{name}: an expression has no prefix"
    if mappings.uid.claim and mappings.uid.expression:
        yield "claimMappings.uid: claim and expression cannot both be set"
    if any(bool(rule.claim) == bool(rule.expression) for rule in rules):
        yield "claimValidationRules: each has either a claim or an expression"
    others = [*(rule.expression for rule in rules), *(one.value_expression for one in mappings.extra)]
    name = mappings.username.expression
    if EMAIL.search(name) and not any("claims.email_verified" in text for text in (name, *others)):
        yield "claimMappings.username.expression: claims.email_verified must be used where claims.email is"


def expressions_of(jwt: Jwt) -> list[str]:
    mappings = jwt.claim_mappings
    single = (mappings.username.expression, mappings.groups.expression, mappings.uid.expression)
    rules = (
        *(rule.expression for rule in jwt.claim_validation_rules),
        *(one.expression for one in jwt.user_validation_rules),
    )
    return [text for text in (*single, *(one.value_expression for one in mappings.extra), *rules) if text]


def computing(jwt: Jwt) -> Callable[[Mapping[str, Any], User], User | None]:
    """ValueError where an expression is wrong. The engine is imported by clusters that have expressions only."""
    from kybern.apiserver.auth import jwt_expressions as made
    from kybern.cel import CompileFailed

    mappings = jwt.claim_mappings
    name, groups, uid = mappings.username.expression, mappings.groups.expression, mappings.uid.expression
    try:
        expressions = made.JwtExpressions(
            username=made.one_text(name) if name else None,
            groups=made.some_texts(groups) if groups else None,
            uid=made.one_text(uid) if uid else None,
            extra={one.key: made.some_texts(one.value_expression) for one in mappings.extra},
            claim_rules=tuple(made.rule(rule.expression) for rule in jwt.claim_validation_rules if rule.expression),
            user_rules=tuple(made.user_rule(one.expression) for one in jwt.user_validation_rules),
        )
    except CompileFailed as error:
        raise ValueError(str(error)) from None

    def computed(claims: Mapping[str, Any], user: User) -> User | None:
        try:
            return expressions.user(claims, user)
        except made.NoUser:
            return None

    return computed
