"""The documents about the API itself, and how they are asked for: /api, /apis, /version, /openapi.

- Each is built when somebody first asks and kept until the served resources change (`invalidate`).
- `answer` is a plain function, safe in any thread; as a layer, `Documents` builds the large ones off the event loop.
- What a client has already (`If-None-Match`, an OpenAPI hash) is not sent again.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

from kybern.api.codec import encode
from kybern.api.errors import NotFound
from kybern.apiserver import discovery
from kybern.apiserver.aggregation import merging
from kybern.apiserver.aggregation.merging import RemoteVersion
from kybern.apiserver.formats import readable
from kybern.apiserver.request import ApiRequest
from kybern.registry.resource import Resource
from kybern.web.escapes import unquoted
from kybern.web.http import Request, Response

JSON = "application/json"
OPENAPI_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OPENAPI_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
AGGREGATED = {
    version: f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    for version in ("v2", "v2beta1")
}
IMMUTABLE = {"cache-control": "public, immutable", "vary": "Accept"}  # the address has the content's hash in it
PATHS = ("/api", "/api/v1", "/apis", "/openapi/v2", "/openapi/v3", "/version")
NO_SUCH_PATH = "the server could not find the requested resource"


class Documents:
    def __init__(
        self,
        resources: Callable[[], Iterable[Resource]],
        address: Callable[[], str] = lambda: "",
        remote: Callable[[], Sequence[RemoteVersion]] = lambda: (),
    ) -> None:
        """`resources` gives what is served now, `remote` what others serve; `address` is this server's, `host:port`."""
        self.remote = remote
        self.resources = resources
        self.address = address
        self.building = threading.Lock()
        self.invalidate()

    def invalidate(self) -> None:
        """The served resources have changed."""
        self.kept: dict[tuple[str, str], Response | None] = {}

    async def __call__(self, request: ApiRequest) -> Response:
        """As a layer: NotFound for a path that is not one of these."""
        http = request.http
        large = http.path.startswith("/openapi/") and not self.is_kept(http)
        found = await asyncio.to_thread(self.answer, http) if large else self.answer(http)
        if found is None:
            raise NotFound(NO_SUCH_PATH)
        return found

    def answer(self, request: Request) -> Response | None:
        """None where the path is not one of these."""
        path = unquoted(request.path).rstrip("/") or "/"
        if request.method not in ("GET", "HEAD") or not _is_ours(path):
            return None
        found = self._kept(path, request)
        if found is None or found.status != 200:
            return found
        wanted = request.params().get("hash", [""])[0]
        if path.startswith("/openapi/v3/") and wanted:
            return self._hashed(path, wanted, found)
        if found.headers.get("etag") and found.headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(304, found.headers)
        return found

    def is_kept(self, request: Request) -> bool:
        path = unquoted(request.path).rstrip("/") or "/"
        return (path, _form(path, request.headers.get("accept", ""))) in self.kept

    def _kept(self, path: str, request: Request) -> Response | None:
        key = (path, _form(path, request.headers.get("accept", "")))
        kept = self.kept
        if key not in kept:
            with self.building:
                if key not in kept:
                    kept[key] = self._build(*key)
        return kept[key]

    def _build(self, path: str, form: str) -> Response | None:
        resources, remote = list(self.resources()), self.remote()
        if path == "/openapi/v2":
            return _openapi_v2(resources, remote, form)
        if path.startswith("/openapi/v3"):
            value = _openapi_v3(path.removeprefix("/openapi/v3").strip("/"), resources, remote)
        else:
            value = self._discovery(path, form, resources)
        return None if value is None else _response(encode(value), form)

    def _discovery(self, path: str, form: str, resources: list[Resource]) -> Any:
        if path == "/":
            return {"paths": sorted({*PATHS, *(f"/apis/{group}/{v}".replace("/apis//", "/api/")
                                               for group, v in discovery.by_version(resources))})}  # fmt: skip
        if path == "/version":
            return discovery.version_document()
        if path in ("/api", "/apis"):
            for version, type_ in AGGREGATED.items():
                if form == type_:
                    found = discovery.aggregated(resources, path == "/api", version)
                    return found if path == "/api" else merging.with_discovery(found, self.remote())
            if path == "/api":
                return discovery.api_versions(self.address())
            return merging.with_groups(discovery.group_list(resources), self.remote())
        parts = path.split("/")[1:]
        if parts[0] == "api":
            return discovery.resource_list("", parts[1], resources) if len(parts) == 2 else None
        if len(parts) == 2:
            return self._group(parts[1], resources)
        return discovery.resource_list(parts[1], parts[2], resources) if len(parts) == 3 else None

    def _group(self, name: str, resources: list[Resource]) -> Any:
        """/apis/<group>, with the versions of it that others serve."""
        own = discovery.group_document(name, resources)
        listed = merging.with_groups(
            {"groups": [own] if own else []}, [one for one in self.remote() if one.group == name]
        )
        return {"kind": "APIGroup", "apiVersion": "v1", **listed["groups"][0]} if listed["groups"] else None

    def _hashed(self, path: str, wanted: str, found: Response) -> Response:
        """A document under the address that has its hash in it, or the way to the one it has now."""
        from kybern.apiserver.openapi import v3

        now = v3.index(self.resources(), discovery.GIT_VERSION)["paths"][path.removeprefix("/openapi/v3/")]
        if now["serverRelativeURL"].endswith(f"hash={wanted}"):
            return Response(200, {**found.headers, **IMMUTABLE}, found.body)
        return Response(301, {"location": now["serverRelativeURL"]})


def _is_ours(path: str) -> bool:
    if path in PATHS or path == "/":
        return True
    parts = path.split("/")[1:]
    return (
        (parts[0] == "apis" and len(parts) <= 3)
        or (parts[0] == "api" and len(parts) == 2)
        or parts[:2] == ["openapi", "v3"]
    )


def _form(path: str, accept: str) -> str:
    """The first form in the client's list that exists for this path."""
    wishes = [wish.strip().replace(" ", "") for wish in readable(accept).split(",")]
    offered = (
        AGGREGATED.values()
        if path in ("/api", "/apis")
        else (OPENAPI_PROTOBUF, OPENAPI_PROTOBUF_OLD)
        if path == "/openapi/v2"
        else ()
    )
    for wish in wishes:
        bare = wish.partition(";q=")[0]
        if bare in offered:
            return bare
        if bare.partition(";")[0] in (JSON, "*/*", "application/*") and ";as=" not in bare:
            return JSON
    return JSON


def _response(body: bytes, type_: str) -> Response:
    etag = f'"{sha256(body).hexdigest().upper()}"'
    return Response(200, {"content-type": type_, "etag": etag, "vary": "Accept"}, body)


def _openapi_v2(resources: list[Resource], remote: Sequence[RemoteVersion], form: str) -> Response:
    from kybern.apiserver.openapi import gnostic, v2

    document = merging.with_openapi_v2(v2.document(resources, discovery.GIT_VERSION), remote)
    if form != JSON:
        return _response(gnostic.encoded(document), OPENAPI_PROTOBUF)
    return _response(encode(document), JSON)


def _openapi_v3(path: str, resources: list[Resource], remote: Sequence[RemoteVersion]) -> Any:
    from kybern.apiserver.openapi import v3

    if not path:
        return merging.with_openapi_v3(v3.index(resources, discovery.GIT_VERSION), remote)
    for key, served in discovery.by_version(resources).items():
        if v3.path_of(*key) == path:
            return v3.document(served, discovery.GIT_VERSION)
    return None
