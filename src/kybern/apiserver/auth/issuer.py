"""Issuing service-account tokens: short-lived, for an audience, bound to the account and to a pod, node or secret.

A token names what it is bound to by name and uid, so an object of the same name made later does not revive it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.core_v1 import Node, Pod, Secret, ServiceAccount
from kybern.apiserver.auth.keys import Keys
from kybern.web.account_token import signed

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
USER_PREFIX = "system:serviceaccount:"
GROUP = "system:serviceaccounts"


def user_name(namespace: str, name: str) -> str:
    return f"{USER_PREFIX}{namespace}:{name}"


def group_names(namespace: str) -> tuple[str, ...]:
    return (GROUP, f"{GROUP}:{namespace}")


def account_of(user: str) -> tuple[str, str] | None:
    """Namespace and name of the service account that this user is; None where it is none."""
    parts = user.removeprefix(USER_PREFIX).split(":")
    return (parts[0], parts[1]) if user.startswith(USER_PREFIX) and len(parts) == 2 and all(parts) else None


@dataclass(frozen=True, slots=True)
class Issued:
    token: str
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIssuer:
    keys: Keys
    clock: Clock
    ids: Ids
    issuer: str = DEFAULT_ISSUER
    audiences: tuple[str, ...] = (DEFAULT_ISSUER,)
    """The API server's own: what a token is for when nobody says otherwise."""

    def issue(
        self,
        account: ServiceAccount,
        *,
        seconds: int,
        audiences: Sequence[str] = (),
        pod: Pod | None = None,
        node: Node | None = None,
        secret: Secret | None = None,
        warn_after_seconds: int | None = None,
    ) -> Issued:
        now = int(self.clock.wall())
        bound: dict[str, Any] = {"namespace": account.metadata.namespace, "serviceaccount": reference(account)}
        bound |= {
            name: reference(target) for name, target in (("node", node), ("pod", pod), ("secret", secret)) if target
        }
        if warn_after_seconds is not None:
            bound["warnafter"] = now + warn_after_seconds
        claims = {
            "aud": list(audiences or self.audiences),
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": self.ids.uid(),
            "kubernetes.io": bound,
            "nbf": now,
            "sub": user_name(account.metadata.namespace or "", account.metadata.name or ""),
        }
        return Issued(self.signed(claims), float(now + seconds))

    def signed(self, claims: Mapping[str, Any]) -> str:
        return signed(claims, self.keys.signing)

    def discovery(self, jwks_uri: str = "") -> dict[str, Any]:
        """The OpenID Connect discovery document, as far as token verification needs it."""
        return {
            "issuer": self.issuer,
            "jwks_uri": jwks_uri or f"{self.issuer.rstrip('/')}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


def reference(target: ServiceAccount | Pod | Node | Secret) -> dict[str, str]:
    return {"name": target.metadata.name or "", "uid": target.metadata.uid or ""}


def digest(token: str) -> bytes:
    """What may be kept and compared in a token's place."""
    return hashlib.sha256(token.encode()).digest()
