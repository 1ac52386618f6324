"""A stream that says when it has ended, however that came about. What its source pushes passes it by, as without it."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from kybern.web.http import PushedStream


class FollowedStream(PushedStream):
    def __init__(self, body: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended = ended
        self._pieces = self._followed()

    @property
    def push(self) -> Callable[[bytes], bool] | None:
        return self._body.push if isinstance(self._body, PushedStream) else None

    @push.setter
    def push(self, push: Callable[[bytes], bool] | None) -> None:
        if isinstance(self._body, PushedStream):
            self._body.push = push

    def __anext__(self) -> Awaitable[bytes]:
        return self._pieces.__anext__()

    async def aclose(self) -> None:
        await self._pieces.aclose()

    async def _followed(self) -> AsyncGenerator[bytes]:
        try:
            async for piece in self._body:
                yield piece
        finally:
            self._ended()
            if close := getattr(self._body, "aclose", None):
                await close()
