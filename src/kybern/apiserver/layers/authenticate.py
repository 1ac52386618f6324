"""Who asks: the request goes on with that user, or with the one that this user may act as."""

from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.request import ApiRequest, Layer, User
from kybern.web.http import Request, Response

HEADERS = "impersonate-"


class Authenticate(Protocol):
    async def __call__(self, request: Request) -> User:
        """Unauthorized where the credentials are wrong; the anonymous user where there are none."""


@dataclass(frozen=True, slots=True)
class AuthenticateLayer:
    authenticate: Authenticate
    impersonation: Impersonation | None
    next: Layer

    async def __call__(self, request: ApiRequest) -> Response:
        user = await self.authenticate(request.http)
        if self.impersonation is not None and HEADERS in " ".join(request.http.headers):
            real, user = user, await self.impersonation.acting(user, request.http)
            request.impersonator = real if user is not real else None
        request.user = user
        request.attributes = replace(request.attributes, user=user)
        return await self.next(request)
