"""A small read-only registry for tests: manifests, blobs with ranges, bearer tokens, and ways to misbehave."""

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from oci_images import MANIFEST, BuiltImage

from kybern.web.http import Request, Response
from kybern.web.server import serve

TOKEN = "the-token"


class ImageRegistry:
    def __init__(self) -> None:
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.asked_for: set[str] = set()
        """The queries of all of these."""
        self.login = ""
        """`name:password` that the token service wants; empty for an open registry."""
        self.break_off_after = 0
        """Bytes of the first blob answers, before they end too early."""
        self.answer: Callable[[Request], Response] | None = None
        """Instead of everything else."""
        self.address = ""

    def add(self, name: str, image: BuiltImage, tag: str = "latest") -> None:
        for key in (tag, image.digest):
            self.manifests[f"{name}:{key}"] = (image.manifest, MANIFEST)
        self.blobs |= image.blobs

    async def handle(self, request: Request) -> Response:
        self.requests.append(request.path)
        self.asked_for.add(request.query)
        if self.answer is not None:
            return self.answer(request)
        if request.path == "/token":
            return self.token(request)
        if self.login and request.headers.get("authorization") != f"Bearer {TOKEN}":
            realm = f'Bearer realm="http://{self.address}/token",service="test",scope="repository:x:pull"'
            return Response(401, {"WWW-Authenticate": realm})
        _, _, rest = request.path.partition("/v2/")
        if "/manifests/" in rest:
            name, _, asked = rest.partition("/manifests/")
            body, kind = self.manifests.get(f"{name}:{asked}", (b"", ""))
            return Response(200, {"Content-Type": kind}, body) if body else Response(404)
        _, _, digest = rest.partition("/blobs/")
        return self.blob(request, self.blobs.get(digest))

    def token(self, request: Request) -> Response:
        expected = "Basic " + base64.b64encode(self.login.encode()).decode()
        if request.headers.get("authorization") != expected:
            return Response(401)
        return Response(200, {"Content-Type": "application/json"}, json.dumps({"token": TOKEN}).encode())

    def blob(self, request: Request, data: bytes | None) -> Response:
        if data is None:
            return Response(404)
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        end = len(data)
        if self.break_off_after and end - start > self.break_off_after:
            end, self.break_off_after = start + self.break_off_after, 0
        return Response(206 if start else 200, {"Content-Type": "application/octet-stream"}, data[start:end])


@asynccontextmanager
async def image_registry(tls: ssl.SSLContext | None = None) -> AsyncIterator[ImageRegistry]:
    registry = ImageRegistry()
    server = await serve(registry.handle, host="127.0.0.1", port=0, ssl=tls)
    port = server.listeners[0].sockets[0].getsockname()[1]
    registry.address = f"127.0.0.1:{port}"
    try:
        yield registry
    finally:
        await server.close()
