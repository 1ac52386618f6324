"""Distributed claims (OpenID Connect Core 5.6.2): where a token says that its groups are to be had somewhere else.

The token names the place, and perhaps a token for it; what is found there is a token too, of an issuer that it names, for
our audience, with that one claim in it. Only the claim for groups is fetched, as upstream does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from kybern.aio.clock import Clock
from kybern.apiserver.auth.jwt_keys import Connect, IssuerKeys, fetched
from kybern.apiserver.auth.tokens import payload_of

ISSUERS_MAX = 16
"""Of such claims. A token that names one more cannot be judged; it takes an issuer that we trust to name any."""


def place_of(claims: Mapping[str, Any], name: str) -> tuple[str, str] | None:
    """(endpoint, access token) of a claim that is not in the token itself."""
    names, sources = claims.get("_claim_names"), claims.get("_claim_sources")
    if not name or name in claims or not isinstance(names, dict) or not isinstance(sources, dict) or name not in names:
        return None
    source = sources.get(names[name])
    if not isinstance(source, dict) or not isinstance(source.get("endpoint"), str):
        raise LookupError(f"the token does not say where its claim {name} is")
    return source["endpoint"], str(source.get("access_token") or "")


class DistributedClaims:
    def __init__(self, issuer: str, connect: Connect, clock: Clock) -> None:
        self.issuer, self.connect, self.clock = issuer, connect, clock
        self.issuers: dict[str, IssuerKeys] = {}

    async def completed(
        self, claims: Mapping[str, Any], name: str, audiences: Sequence[str], algorithms: Sequence[str]
    ) -> Mapping[str, Any]:
        """With the claim of this name. LookupError, or an error of jwt's, where it cannot be had or believed."""
        place = place_of(claims, name)
        if place is None:
            return claims
        endpoint, access_token = place
        headers = {"authorization": f"Bearer {access_token}"} if access_token else {}
        token = (await fetched(self.connect, endpoint, self.issuer, headers)).decode().strip()
        issuer = str(payload_of(token).get("iss"))
        found = jwt.decode(
            token,
            await self._keys_of(issuer).of(token),
            algorithms=list(algorithms),
            issuer=issuer,
            audience=list(audiences),
            options={"require": ["iss", "aud"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        if float(found.get("exp", self.clock.wall() + 1)) <= self.clock.wall():
            raise LookupError(f"the claim {name} of {endpoint} has expired")
        return {**claims, name: found[name]}

    def _keys_of(self, issuer: str) -> IssuerKeys:
        if issuer not in self.issuers:
            if len(self.issuers) >= ISSUERS_MAX:
                raise LookupError("too many issuers of distributed claims")
            self.issuers[issuer] = IssuerKeys(issuer, self.connect, self.clock, configured=self.issuer)
        return self.issuers[issuer]
