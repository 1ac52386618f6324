"""A small real API server of an extension, over HTTPS: one kind, kept in memory; it believes the front proxy alone.

`/apis/wardle.example.com/v1alpha1/namespaces/<ns>/flunders` can be listed, watched, created, read and deleted.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from kybern.web.http import Connection, Request, Response, Upgrade
from kybern.web.pki import Pair, create_ca, issue
from kybern.web.server import serve
from kybern.web.tls import server_context

NOW = 1_700_000_000.0
GROUP, VERSION = "wardle.example.com", "v1alpha1"
BASE = f"/apis/{GROUP}/{VERSION}"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {
            "name": "flunders", "singularName": "flunder", "namespaced": True, "kind": "Flunder",
            "verbs": ["create", "delete", "get", "list", "watch"], "shortNames": ["fl"],
        },
        {"name": "flunders/status", "singularName": "", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}  # fmt: skip
OPENAPI_V2 = {
    "swagger": "2.0",
    "info": {"title": "wardle", "version": "v0"},
    "paths": {
        f"{BASE}/flunders": {
            "get": {"operationId": "listFlunders", "responses": {"200": {"description": "OK"}}},
            "parameters": [{"$ref": "#/parameters/pretty"}],
        },
        "/apis/apps/v1/deployments": {"get": {"operationId": "stolen", "responses": {}}},
    },
    "definitions": {
        "com.example.wardle.v1alpha1.Flunder": {"type": "object"},
        "io.k8s.api.core.v1.Pod": {"type": "string"},
    },
}


@dataclass
class ExtensionServer:
    port: int = 0
    flunders: dict[str, Any] = field(default_factory=dict)
    users: list[dict[str, str]] = field(default_factory=list)
    """The X-Remote-* and other headers of every request for an object."""
    broken: bool = False
    discovery: Callable[[], Response] | None = None
    """What it answers instead of its resources."""
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Resources of further groups and versions; each has one object."""

    async def __call__(self, request: Request) -> Response:
        if request.peer.certificate is None:
            return answer(401, {"message": "no front proxy"})
        if self.broken:
            return answer(500, {})
        if self.discovery is not None and request.path == BASE:
            return self.discovery()
        match request.path:
            case "/apis/wardle.example.com/v1alpha1" | "/api" | "/api/v1":
                return answer(200, RESOURCES)
            case "/openapi/v2":
                return answer(200, OPENAPI_V2)
            case "/openapi/v3":
                where = f"/openapi/v3{BASE}?hash=1"
                return answer(200, {"paths": {f"apis/{GROUP}/{VERSION}": {"serverRelativeURL": where}}})
            case "/openapi/v3/apis/wardle.example.com/v1alpha1":
                return answer(200, {"openapi": "3.0.0"})
        for name, resources in self.groups.items():
            if request.path.startswith(f"/apis/{name}"):
                listed = {"kind": "APIResourceList", "groupVersion": name, "resources": resources}
                return answer(200, listed if request.path == f"/apis/{name}" else {"kind": resources[0]["kind"]})
        self.users.append(dict(request.headers))
        if request.path.endswith("/flunders/away"):
            return Response(302, {"location": "https://127.0.0.1:1/secrets"})
        if "upgrade" in request.headers:
            return Upgrade(101, {"Connection": "Upgrade", "Upgrade": request.headers["upgrade"]}, takeover=echo)
        return await self.objects(request)

    async def objects(self, request: Request) -> Response:
        name = request.path.rpartition("/flunders")[2].strip("/")
        if request.method == "POST":
            made = json.loads(await request.read())
            self.flunders[made["metadata"]["name"]] = made
            return answer(201, made)
        if name and name not in self.flunders:
            return answer(404, {"kind": "Status", "reason": "NotFound", "code": 404})
        if request.method == "DELETE":
            return answer(200, self.flunders.pop(name))
        if name:
            return answer(200, self.flunders[name])
        if "watch=true" in request.query:
            return Response(200, {"content-type": "application/json"}, self.events())
        return answer(200, {"kind": "FlunderList", "items": list(self.flunders.values())})

    async def events(self) -> AsyncIterator[bytes]:
        for flunder in self.flunders.values():
            yield json.dumps({"type": "ADDED", "object": flunder}).encode() + b"\n"


async def echo(connection: Connection) -> None:
    while data := await connection.receive():
        await connection.send(data)
    connection.close()


def answer(status: int, value: Any) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(value).encode())


def pairs() -> tuple[Pair, Pair, Pair]:
    """The front proxy's authority and certificate, and the authority of the extension's own certificate."""
    proxy_ca, own_ca = create_ca("front-proxy", NOW, days=36500), create_ca("extension", NOW, days=36500)
    return proxy_ca, issue(proxy_ca, "front-proxy-client", now=NOW, days=36500), own_ca


@asynccontextmanager
async def extension_server(
    proxy_ca: Pair, own_ca: Pair, name: str = "wardle.wardle.svc"
) -> AsyncIterator[ExtensionServer]:
    own = issue(own_ca, "extension", now=NOW, dns_names=[name], days=36500)
    extension = ExtensionServer()
    context = server_context(own.certificate, own.key, client_ca=proxy_ca.certificate)
    server = await serve(extension, ssl=context)
    extension.port = server.port
    try:
        yield extension
    finally:
        await server.close(grace_seconds=0)
