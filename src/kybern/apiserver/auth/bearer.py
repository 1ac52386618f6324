"""Bearer tokens: where a request carries one, and who is asked about it.

- `Authorization: Bearer TOKEN`; a browser's WebSocket has no such header, so there it is an offered subprotocol.
- Several sources of tokens are asked in turn; a token that none of them knows is wrong, which is not the same as none.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from kybern.api.errors import Unauthorized
from kybern.apiserver.request import User
from kybern.web.http import Request

SUBPROTOCOL_PREFIX = "base64url.bearer.authorization.k8s.io."
TOKEN_BYTES_MAX = 64 * 1024

TokenSource = Callable[[str], User | None]
"""Whose token it is; None where it is not one of this source's, or no longer good."""


def token_in(request: Request) -> str:
    """The token a request carries; empty where it carries none."""
    scheme, _, rest = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.split(" ")[0]
    offered = request.headers.get("sec-websocket-protocol", "")
    before, found, after = offered.partition(SUBPROTOCOL_PREFIX)
    return decoded(after.partition(",")[0].strip()) if found and before.rstrip()[-1:] in ("", ",") else ""


def decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized("Unauthorized") from None


RemoteTokenSource = Callable[[str], Awaitable[User | None]]
"""The same where somebody else may have to be asked."""


class RemoteTokens:
    """Those that are asked about tokens which nobody here knows: they may be others from any moment on."""

    def __init__(self, sources: Iterable[RemoteTokenSource] = ()) -> None:
        self.use(sources)

    def use(self, sources: Iterable[RemoteTokenSource]) -> None:
        self._sources = tuple(sources)

    def __iter__(self) -> Iterator[RemoteTokenSource]:
        return iter(self._sources)


@dataclass(frozen=True, slots=True)
class BearerAuthenticator:
    sources: Sequence[TokenSource]
    remote: Iterable[RemoteTokenSource] = ()
    """Asked about what the others do not know."""

    async def __call__(self, request: Request) -> User | None:
        token = token_in(request)
        if not token:
            return None
        if len(token) <= TOKEN_BYTES_MAX:
            for source in self.sources:
                user = source(token)
                if user is not None:
                    return user
            for ask in self.remote:
                user = await ask(token)
                if user is not None:
                    return user
        raise Unauthorized("Unauthorized")
