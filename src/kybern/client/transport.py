"""How a request reaches an API server: over HTTPS (`web.client`), or by calling its handler in the same process."""

from typing import Protocol

from msgspec.structs import replace

from kybern.web.http import Handler, Request, Response


class Transport(Protocol):
    """`Handler`, seen from the other end. OSError when the server cannot be reached."""

    async def send(self, request: Request) -> Response: ...


class InMemory:
    """An API server's own handler. There is no certificate in memory, so who asks is told by a token."""

    def __init__(self, handler: Handler, token: str = "") -> None:
        self.handler = handler
        self.headers = {"authorization": f"Bearer {token}"} if token else {}

    async def send(self, request: Request) -> Response:
        return await self.handler(replace(request, headers={**request.headers, **self.headers}))
