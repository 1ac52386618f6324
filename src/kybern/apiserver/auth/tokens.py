"""Service-account tokens, verified.

- The signature is checked once for each token; what it says is remembered under the token's SHA-256, within a bound.
- Everything that can change is checked every time, from memory: the dates, and that the account and whatever the token
  is bound to still exist with the uid it names.
- Only RS256 with a published key counts; no header of the token chooses a key elsewhere or another algorithm.
"""

import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from kybern.aio.clock import Clock, from_rfc3339
from kybern.api.core_v1 import Node, Pod, Secret, ServiceAccount
from kybern.apiserver.auth.chain import as_authenticated
from kybern.apiserver.auth.issuer import DEFAULT_ISSUER, digest, group_names, user_name
from kybern.apiserver.auth.keys import Keys
from kybern.apiserver.request import Objects, User

VERDICTS_MAX = 10_000  # tokens remembered: some hundred bytes each
LEEWAY_SECONDS = 60  # clocks differ, and a deleted pod may finish what it does: upstream's figure
EXTRA = "authentication.kubernetes.io/"
HEADERS_KNOWN = {"alg", "kid", "typ"}


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature is right."""

    namespace: str
    account: Mapping[str, str]
    audiences: tuple[str, ...]
    not_before: float
    expires: float
    bound: Mapping[str, Mapping[str, str]]
    """`pod`, `node` and `secret`, as far as it names them."""
    user: User


@dataclass(slots=True, kw_only=True)
class ServiceAccountTokens:
    keys: Keys
    objects: Objects
    clock: Clock
    issuers: tuple[str, ...] = (DEFAULT_ISSUER,)
    audiences: tuple[str, ...] = (DEFAULT_ISSUER,)
    verdicts: dict[bytes, Verified | None] = field(default_factory=dict)

    def __call__(self, token: str) -> User | None:
        """The user it is good for towards this API server."""
        found = self.review(token, self.audiences)
        return found[0] if found else None

    def review(self, token: str, audiences: Sequence[str]) -> tuple[User, tuple[str, ...]] | None:
        """The user, and which of these audiences the token is for; None where it is not good for any of them."""
        verified = self.verified(token)
        if verified is None or not self.is_current(verified) or not self.is_bound(verified):
            return None
        shared = tuple(name for name in audiences if name in verified.audiences)
        return (verified.user, shared) if shared else None

    def verified(self, token: str) -> Verified | None:
        key = digest(token)
        if key not in self.verdicts:
            if len(self.verdicts) >= VERDICTS_MAX:
                del self.verdicts[next(iter(self.verdicts))]
            self.verdicts[key] = verify(token, self.keys, self.issuers)
        return self.verdicts[key]

    def is_current(self, verified: Verified) -> bool:
        now = self.clock.wall()
        return verified.not_before - LEEWAY_SECONDS <= now < verified.expires

    def is_bound(self, verified: Verified) -> bool:
        """Whether the account, and everything else that the token names, is still there."""
        if not self.lives(ServiceAccount, verified.namespace, verified.account):
            return False
        if not verified.bound:
            return True
        kinds = {"pod": (Pod, verified.namespace), "secret": (Secret, verified.namespace), "node": (Node, "")}
        return all(
            # A node beside a pod is where the pod was; the pod alone decides then, as upstream has it.
            (name == "node" and "pod" in verified.bound) or self.lives(*kinds[name], reference)
            for name, reference in verified.bound.items()
        )

    def lives(self, wanted: type[Any], namespace: str, reference: Mapping[str, str]) -> bool:
        found = self.objects.get(wanted, reference["name"], namespace)
        if found is None or found.metadata.uid != reference["uid"]:
            return False
        deleted = found.metadata.deletion_timestamp
        return deleted is None or self.clock.wall() < from_rfc3339(deleted) + LEEWAY_SECONDS


def verify(token: str, keys: Keys, issuers: Sequence[str]) -> Verified | None:
    """What the token says, if one of the keys signed it in just the way we sign."""
    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256" or not set(header) <= HEADERS_KNOWN:
            return None
        key = keys.verifying.get(header.get("kid", ""))
        if key is None:
            return None
        claims = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            issuer=list(issuers),
            options={
                "require": ["exp", "iat", "nbf", "iss", "aud", "sub"],
                # The dates and audiences are looked at on every use, not once.
                "verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False,
            },
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError, binascii.Error, RecursionError):
        return None
    return parsed(claims)


def parsed(claims: Mapping[str, Any]) -> Verified | None:
    """None where a claim has a shape that we never issue."""
    bound = claims.get("kubernetes.io")
    if not isinstance(bound, dict) or not isinstance(bound.get("namespace"), str):
        return None
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    references = {name: bound[name] for name in ("serviceaccount", "pod", "node", "secret") if name in bound}
    dates = (claims["nbf"], claims["exp"])
    account = references.pop("serviceaccount", None)
    if (
        account is None
        or not all(isinstance(name, str) for name in audiences)
        or not all(is_reference(reference) for reference in (account, *references.values()))
        or not all(isinstance(date, int) and not isinstance(date, bool) for date in dates)
        or claims["sub"] != user_name(bound["namespace"], account["name"])
    ):
        return None
    namespace = bound["namespace"]
    user = as_authenticated(user_of(namespace, account, str(claims.get("jti", "")), references))
    return Verified(namespace, account, tuple(audiences), dates[0], dates[1], references, user)


def is_reference(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("name", "uid"))


def user_of(namespace: str, account: Mapping[str, str], jti: str, bound: Mapping[str, Mapping[str, str]]) -> User:
    extra: dict[str, tuple[str, ...]] = {}
    if jti:
        extra[f"{EXTRA}credential-id"] = (f"JTI={jti}",)
    for name in ("pod", "node"):
        if reference := bound.get(name):
            extra[f"{EXTRA}{name}-name"] = (reference["name"],)
            extra[f"{EXTRA}{name}-uid"] = (reference["uid"],)
    return User(user_name(namespace, account["name"]), group_names(namespace), account["uid"], extra)


def payload_of(token: str) -> dict[str, Any]:
    """The claims as they stand, unverified."""
    claims = token.split(".")[1]
    decoded: dict[str, Any] = json.loads(jwt.utils.base64url_decode(claims))
    return decoded
