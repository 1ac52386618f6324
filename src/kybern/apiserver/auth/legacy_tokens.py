"""Tokens kept in Secrets: the service-account tokens of old, and the tokens that nodes join with.

- `kubernetes.io/service-account-token` Secrets hold a token that never expires; it is good as long as the Secret
  holds exactly it and is not marked invalid. Its use is told to `used`.
- `bootstrap.kubernetes.io/token` Secrets in kube-system are named after the token's id: `ID.SECRET`.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from kybern.aio.clock import Clock, from_rfc3339
from kybern.api.core_v1 import Secret, ServiceAccount
from kybern.apiserver.auth.issuer import group_names, user_name
from kybern.apiserver.auth.keys import Keys
from kybern.apiserver.auth.legacy_use import INVALID_SINCE
from kybern.apiserver.request import Objects, User
from kybern.web.account_token import CLAIM, ISSUER

BOOTSTRAP_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)
BOOTSTRAP_TYPE = "bootstrap.kubernetes.io/token"
BOOTSTRAP_GROUP = "system:bootstrappers"


@dataclass(frozen=True, slots=True)
class SecretTokens:
    keys: Keys
    objects: Objects
    used: Callable[[Secret], None] = lambda secret: None

    def __call__(self, token: str) -> User | None:
        claims = self.claims(token)
        if claims is None:
            return None
        namespace, name, uid, kept = (
            str(claims.get(f"{CLAIM}{part}", ""))
            for part in ("namespace", "service-account.name", "service-account.uid", "secret.name")
        )
        secret = self.objects.get(Secret, kept, namespace)
        account = self.objects.get(ServiceAccount, name, namespace)
        if secret is None or account is None or account.metadata.uid != uid or not uid:
            return None
        if secret.metadata.deletion_timestamp or not same(entry(secret, "token"), token):
            return None
        self.used(secret)
        if INVALID_SINCE in (secret.metadata.labels or {}):
            return None
        return User(user_name(namespace, name), group_names(namespace), uid)

    def claims(self, token: str) -> dict[str, Any] | None:
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys.verifying.get(header.get("kid", ""))
            if key is None:
                return None
            options: Any = {"verify_aud": False, "require": ["iss", "sub"]}
            return jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, options=options)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return None


@dataclass(frozen=True, slots=True)
class BootstrapTokens:
    objects: Objects
    clock: Clock

    def __call__(self, token: str) -> User | None:
        matched = BOOTSTRAP_TOKEN.fullmatch(token)
        if matched is None:
            return None
        secret = self.objects.get(Secret, f"bootstrap-token-{matched[1]}", "kube-system")
        if secret is None or secret.type != BOOTSTRAP_TYPE or secret.metadata.deletion_timestamp:
            return None
        if entry(secret, "token-id") != matched[1] or not same(entry(secret, "token-secret"), matched[2]):
            return None
        if entry(secret, "usage-bootstrap-authentication") != "true" or self.is_expired(entry(secret, "expiration")):
            return None
        more = [name for name in entry(secret, "auth-extra-groups").split(",") if name.startswith(BOOTSTRAP_GROUP)]
        return User(f"system:bootstrap:{matched[1]}", (BOOTSTRAP_GROUP, *more))

    def is_expired(self, expiration: str) -> bool:
        try:
            return bool(expiration) and from_rfc3339(expiration) <= self.clock.wall()
        except ValueError:
            return True


def same(one: str, other: str) -> bool:
    """In a time that does not tell how much of it is right."""
    return hmac.compare_digest(one.encode(), other.encode())


def entry(secret: Secret, key: str) -> str:
    """An entry of a Secret as text; empty where it is absent or no text."""
    try:
        return base64.b64decode((secret.data or {}).get(key, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
