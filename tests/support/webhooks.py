"""A real HTTPS server on loopback that answers as a test says, with a certificate of an authority of its own."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kybern.web.addresses import address_of
from kybern.web.http import Request, Response
from kybern.web.pki import Pair, create_ca, issue
from kybern.web.server import serve
from kybern.web.tls import server_context

Answer = Callable[[Request], Awaitable[Response]]


@cache
def authority() -> Pair:
    return create_ca("webhooks", 1_700_000_000.0, days=36500)


@cache
def certificate(*names: str) -> Pair:
    ips = [name for name in names if address_of(name) is not None]
    others = [name for name in names if address_of(name) is None]
    return issue(authority(), "webhook", now=1_700_000_000.0, dns_names=others, ips=ips, days=36500)


def ca_bundle() -> str:
    return base64.b64encode(authority().certificate).decode()


@dataclass
class HookServer:
    port: int
    seen: list[Request] = field(default_factory=list)
    reviews: list[Any] = field(default_factory=list)

    def client_config(self, path: str = "/") -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": ca_bundle()}

    @property
    def requests(self) -> list[Any]:
        return [review["request"] for review in self.reviews]


@asynccontextmanager
async def hook_server(answer: Answer, *names: str) -> AsyncIterator[HookServer]:
    """For the names given, `127.0.0.1` where there are none."""
    pair = certificate(*(names or ("127.0.0.1",)))
    hooks = HookServer(0)

    async def handler(request: Request) -> Response:
        body = await request.read()
        hooks.seen.append(request)
        request.body = body
        if body.startswith(b"{"):
            hooks.reviews.append(json.loads(body))
        return await answer(request)

    server = await serve(handler, ssl=server_context(pair.certificate, pair.key))
    hooks.port = server.port
    try:
        yield hooks
    finally:
        await server.close(grace_seconds=0)


def review_of(request: Request) -> Any:
    assert isinstance(request.body, bytes)
    return json.loads(request.body)


def answered(request: Request, **response: Any) -> Response:
    """An AdmissionReview's answer, for the request's uid."""
    review = review_of(request)
    body = {
        "apiVersion": review["apiVersion"],
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], "allowed": True, **response},
    }
    return Response(200, {"Content-Type": "application/json"}, json.dumps(body).encode())


def patched(request: Request, *operations: Any, **response: Any) -> Response:
    patch = base64.b64encode(json.dumps(operations).encode()).decode()
    return answered(request, patchType="JSONPatch", patch=patch, **response)


async def never(request: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError("nobody waits for ever")
