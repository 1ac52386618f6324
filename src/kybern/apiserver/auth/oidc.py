"""Where others learn how to verify our tokens: the OpenID Connect discovery document and the key set.

Both are public knowledge; RBAC says who may read them (every service account, by default).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kybern.api.codec import encode
from kybern.apiserver.auth.issuer import TokenIssuer
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response

DISCOVERY_PATH = "/.well-known/openid-configuration"
JWKS_PATH = "/openid/v1/jwks"
CACHE = "public, max-age=3600"


@dataclass(frozen=True, slots=True)
class IssuerDocuments:
    issuer: TokenIssuer
    jwks_uri: str = ""
    """Where the keys are, if not below the issuer's own address."""

    def handlers(self) -> Mapping[str, Layer]:
        """By path."""
        return {DISCOVERY_PATH: self.discovery, JWKS_PATH: self.jwks}

    async def discovery(self, request: ApiRequest) -> Response:
        return answer(encode(self.issuer.discovery(self.jwks_uri)), "application/json")

    async def jwks(self, request: ApiRequest) -> Response:
        return answer(encode(self.issuer.keys.jwks()), "application/jwk-set+json")


def answer(body: bytes, content_type: str) -> Response:
    return Response(200, {"content-type": content_type, "cache-control": CACHE}, body)
