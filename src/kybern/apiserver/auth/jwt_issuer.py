"""Users of an outside issuer: JSON Web Tokens by OpenID Connect, as `--oidc-issuer-url` and its fellows configure it.

- Whose a token is, is read before anything is asked of anybody: of another issuer's this source knows nothing.
- Its keys are fetched when the first token comes (`jwt_keys`), and its groups where the token says so (`jwt_claims`).
- Only the asymmetric algorithms that are configured count, and only the issuer's own keys.
"""

import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import jwt

from kybern.aio.clock import Clock
from kybern.apiserver.auth.issuer import digest
from kybern.apiserver.auth.jwt_claims import DistributedClaims
from kybern.apiserver.auth.jwt_keys import Connect, IssuerKeys
from kybern.apiserver.auth.tokens import payload_of
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import User

VERDICT_SECONDS_MAX = 300.0  # a key that the issuer withdraws is believed no longer than that
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
NO_PAYLOAD = (ValueError, IndexError, AttributeError, binascii.Error, RecursionError)
"""What reading a text as a token fails with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSettings:
    """Which tokens count, and whose they are."""

    url: str
    audiences: tuple[str, ...]
    username_claim: str = "sub"
    username_prefix: str | None = None
    """None: the issuer's URL and `#`, except for an e-mail address; `-` is none."""
    groups_claim: str = ""
    groups_prefix: str = ""
    uid_claim: str = ""
    required_claims: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ("RS256",)
    discovery_url: str = ""
    computed: Callable[[Mapping[str, Any], User], User | None] | None = None
    """What expressions make of the claims, and of the user that the plain claims gave."""

    def wrong(self) -> Iterable[str]:
        """What makes no sense of it."""
        if urlsplit(self.url).scheme != "https" or not urlsplit(self.url).hostname:
            yield f"the issuer's URL {self.url!r} is not an https one"
        if self.discovery_url and urlsplit(self.discovery_url).scheme != "https":
            yield f"the discovery URL {self.discovery_url!r} is not an https one"
        if not self.audiences:
            yield "an audience (the client id) is required"
        for name in self.algorithms:
            if name not in ALGORITHMS:
                yield f"unsupported signing algorithm {name!r}; supported are {', '.join(ALGORITHMS)}"


class JwtIssuer:
    def __init__(self, settings: JwtSettings, connect: Connect, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.keys = IssuerKeys(settings.url, connect, clock, discovery_url=settings.discovery_url)
        self.elsewhere = DistributedClaims(settings.url, connect, clock)
        self._verdicts: Verdicts[tuple[User | None, float]] = Verdicts(clock, lambda verdict: verdict[1])

    async def __call__(self, token: str) -> User | None:
        """None where it is not one of this issuer's, or not good."""
        try:
            if payload_of(token).get("iss") != self.settings.url:
                return None
        except NO_PAYLOAD:
            return None
        try:
            user, _ = await self._verdicts.get(digest(token), lambda: self._judged(token))
        except TooManyQuestions:
            return None
        return user

    async def _judged(self, token: str) -> tuple[User | None, float]:
        """The user, and for how long that holds."""
        try:
            claims = jwt.decode(
                token,
                await self.keys.of(token),
                algorithms=list(self.settings.algorithms),
                issuer=self.settings.url,
                audience=list(self.settings.audiences),
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            left = float(claims["exp"]) - self.clock.wall()
            begun = float(claims.get("nbf", 0)) <= self.clock.wall()
            if left <= 0 or not begun:
                return None, 0.0
            completed = await self.elsewhere.completed(
                claims, self.settings.groups_claim, self.settings.audiences, self.settings.algorithms
            )
        except (*NO_PAYLOAD, jwt.PyJWTError, TypeError, LookupError):
            return None, 0.0
        user = user_from(completed, self.settings)
        return user, min(left, VERDICT_SECONDS_MAX) if user is not None else 0.0


def user_from(claims: Mapping[str, Any], settings: JwtSettings) -> User | None:
    """None where a claim is missing or of another shape than it should be."""
    name = claims.get(settings.username_claim) if settings.username_claim else ""
    if not isinstance(name, str) or (settings.username_claim and not name):
        return None
    if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
        return None
    if any(claims.get(claim) != value for claim, value in settings.required_claims.items()):
        return None
    groups = claims.get(settings.groups_claim, ()) if settings.groups_claim else ()
    groups = (groups,) if isinstance(groups, str) else groups
    if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
        return None
    uid = claims.get(settings.uid_claim, "") if settings.uid_claim else ""
    if not isinstance(uid, str):
        return None
    extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)} if claims.get("jti") else {}
    prefixed = tuple(settings.groups_prefix + group for group in groups)
    user = User(prefix_of(settings) + name if name else "", prefixed, uid, extra)
    return user if settings.computed is None else settings.computed(claims, user)


def prefix_of(settings: JwtSettings) -> str:
    if settings.username_prefix is None:
        return "" if settings.username_claim == "email" else f"{settings.url}#"
    return "" if settings.username_prefix == "-" else settings.username_prefix
