"""One request and its answer: headers out, errors in. What the typed client is made of.

A failure is always an ApiError: a Status body becomes the error it tells of, a server that cannot be reached becomes
ServiceUnavailable with the transport's error as its cause.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import msgspec

from kybern.api.codec import decode
from kybern.api.errors import ApiError, ServiceUnavailable, from_status
from kybern.api.meta_v1 import Status
from kybern.client.transport import Transport
from kybern.web.http import Request, Response

JSON = "application/json"
LINE_BYTES_MAX = 16 * 1024 * 1024  # a watch event is one object, and a stored object is far smaller than this


async def send(transport: Transport, request: Request) -> Response:
    """The response, whatever its status."""
    try:
        return await transport.send(request)
    except (OSError, EOFError) as error:
        raise ServiceUnavailable(f"cannot reach the API server: {error}") from error


async def call(transport: Transport, request: Request) -> bytes:
    """The body of a successful response."""
    response = await send(transport, request)
    body = await read(response)
    if response.status >= 400:
        raise failure(response, body)
    return body


async def read(response: Response) -> bytes:
    try:
        return await response.read()
    except (OSError, EOFError) as error:
        raise ServiceUnavailable(f"the API server's answer broke off: {error}") from error


def failure(response: Response, body: bytes) -> ApiError:
    """The error that a response with status 400 or more means."""
    try:
        status = decode(Status, body)
    except msgspec.MsgspecError:
        status = Status()
    if status.kind != "Status" or not status.message:
        text = body[:200].decode(errors="replace").strip()
        status = Status(message=text or f"the server answered with status {response.status}", code=response.status)
    if not status.reason and not status.code:
        status = msgspec.structs.replace(status, code=response.status)
    return from_status(status)


async def lines(response: Response) -> AsyncGenerator[Sequence[bytes], None]:
    """The complete lines of a streamed body, as many at a time as have arrived."""
    rest = b""
    body = response.body
    pieces = body if isinstance(body, AsyncIterator) else _once(await response.read())
    try:
        async for piece in pieces:
            *complete, rest = (rest + piece).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                raise ServiceUnavailable("a watch event is longer than any object")
            found = [line for line in complete if line]
            if found:
                yield found
    except (OSError, EOFError) as error:
        raise ServiceUnavailable(f"the watch broke off: {error}") from error
    finally:
        close: Any = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
