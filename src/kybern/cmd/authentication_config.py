"""AuthenticationConfiguration: any number of outside issuers, and where nobody in particular may come in.

Of upstream's file everything but expressions: claims are named, not computed. What is not understood is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from kybern.api import yaml
from kybern.apiserver.auth.jwt_issuer import JwtSettings

VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")


class Strict(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A field that is not known is refused: it might have kept somebody out."""


class Issuer(Strict, frozen=True):
    url: str
    audiences: tuple[str, ...]
    discovery_url: str = field(default="", name="discoveryURL")
    certificate_authority: str = ""
    audience_match_policy: str = "MatchAny"


class Prefixed(Strict, frozen=True):
    claim: str
    prefix: str


class Claim(Strict, frozen=True):
    claim: str


class Mappings(Strict, frozen=True):
    username: Prefixed
    groups: Prefixed | None = None
    uid: Claim | None = None


class Required(Strict, frozen=True):
    claim: str
    required_value: str


class Jwt(Strict, frozen=True):
    issuer: Issuer
    claim_mappings: Mappings
    claim_validation_rules: tuple[Required, ...] = ()


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
    try:
        value: Any = yaml.parse(path.read_bytes())[0]
        found = msgspec.convert(value, AuthenticationConfiguration)
    except (yaml.NotYaml, msgspec.ValidationError) as error:
        raise ValueError(f"{path}: {error}") from None
    if found.kind != "AuthenticationConfiguration" or found.api_version not in VERSIONS:
        raise ValueError(f"{path}: no AuthenticationConfiguration, but {found.kind} of {found.api_version}")
    issuers = tuple((settings_of(jwt), jwt.issuer.certificate_authority.encode() or None) for jwt in found.jwt)
    urls = [settings.url for settings, _ in issuers]
    for wrong in [why for settings, _ in issuers for why in settings.wrong()]:
        raise ValueError(f"{path}: {wrong}")
    if len(set(urls)) < len(urls):
        raise ValueError(f"{path}: two issuers have the same URL")
    return Configured(issuers, found.anonymous)


def settings_of(jwt: Jwt) -> JwtSettings:
    mappings = jwt.claim_mappings
    return JwtSettings(
        url=jwt.issuer.url,
        audiences=jwt.issuer.audiences,
        username_claim=mappings.username.claim,
        username_prefix=mappings.username.prefix,
        groups_claim=mappings.groups.claim if mappings.groups is not None else "",
        groups_prefix=mappings.groups.prefix if mappings.groups is not None else "",
        uid_claim=mappings.uid.claim if mappings.uid is not None else "",
        required_claims={rule.claim: rule.required_value for rule in jwt.claim_validation_rules},
        discovery_url=jwt.issuer.discovery_url,
    )
