"""A registry on the node's own store (OCI distribution spec): what is pushed to it can be run at once, under the same name.

    docker push localhost:5000/app      the image localhost:5000/app of this node, and of whoever pulls it from here

Blobs are verified before they get their name (see `uploads`), manifests before they are believed, and an image's layers are
unpacked before its push is answered. It is for the machine's own users: plain HTTP on loopback, without accounts.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.runtime.cri import RuntimeFault
from kybern.runtime.images import manifest as documents
from kybern.runtime.images.manifest import INDEX_TYPES, MANIFEST_BYTES_MAX, BadImage, Descriptor
from kybern.runtime.images.reference import DIGEST, parse
from kybern.runtime.images.store import ImageStore
from kybern.runtime.images.uploads import Refusal, Upload, Uploads
from kybern.web.http import BodyTooLarge, Request, Response

LOOPBACK = ("localhost", "127.0.0.1")
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
PIECE = 1 << 20
TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
ROUTE = re.compile(r"/v2/(?P<name>[a-z0-9._/-]+)/(?P<kind>manifests|blobs|tags)/(?P<rest>.+?)/?", re.ASCII)
RANGE = re.compile(r"(?:bytes[= ])?([0-9]{1,18})-([0-9]{0,18})", re.ASCII)


class RegistryEndpoint:
    """A handler for `web.server`."""

    def __init__(self, images: ImageStore, clock: Clock, ids: Ids) -> None:
        self.images, self.layout = images, images.layout
        self.uploads = Uploads(images.layout, clock, ids)

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Refusal as refusal:
            return told(refusal.status, refusal.code, str(refusal))
        except BodyTooLarge:
            return told(413, "SIZE_INVALID", "the body is larger than is accepted")
        except RuntimeFault as fault:
            return told(400, "NAME_INVALID", fault.message)
        except BadImage as error:
            return told(400, "MANIFEST_INVALID", str(error))

    async def _answer(self, request: Request) -> Response:
        if request.path in ("/v2", "/v2/"):
            return Response(200, {**API, "Content-Type": "application/json"}, b"{}")
        if request.path == "/v2/_catalog":
            return listed({"repositories": sorted({self._path(name) for name in self._own(request)})})
        route = ROUTE.fullmatch(request.path)
        if route is None:
            raise Refusal(404, "NAME_UNKNOWN", "no such path")
        name, rest = route["name"], route["rest"]
        match route["kind"], rest.partition("/")[0]:
            case "tags", "list":
                return self._tags(request, name)
            case "manifests", _:
                return await self._manifest(request, name, rest)
            case "blobs", "uploads":
                return await self._upload(request, name, rest.removeprefix("uploads").strip("/"))
            case "blobs", _:
                return self._blob(request, rest)
        raise Refusal(404, "NAME_UNKNOWN", "no such path")

    # Names

    def _whole(self, request: Request, name: str) -> str:
        """What the store calls a repository: by this registry as the client calls it."""
        return f"{request.headers.get('host', '')}/{name}"

    def _own(self, request: Request) -> list[str]:
        """The store's names that belong to this registry."""
        own = also_called(f"{request.headers.get('host', '')}/")
        return [name for name in self.layout.names if name.startswith(own)]

    def _path(self, name: str) -> str:
        return parse(name).path

    def _tags(self, request: Request, name: str) -> Response:
        found = [parse(each) for each in self._own(request) if self._path(each) == name]
        if not found:
            raise Refusal(404, "NAME_UNKNOWN", "repository name not known to registry")
        return listed({"name": name, "tags": sorted({each.tag for each in found if each.tag})})

    # Manifests

    async def _manifest(self, request: Request, name: str, asked: str) -> Response:
        whole = self._whole(request, name)
        match request.method:
            case "GET" | "HEAD":
                found = self._find(whole, asked)
                body = self.layout.read(found.digest, MANIFEST_BYTES_MAX)
                headers = {**API, "Content-Type": found.media_type, "Docker-Content-Digest": found.digest}
                return Response(200, headers, body)
            case "PUT":
                return await self._put_manifest(request, whole, asked)
            case "DELETE":
                for known in self._names_of(whole, asked):
                    self.images.untag(known)
                return Response(202, API)
        raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")

    def _names_of(self, whole: str, asked: str) -> list[str]:
        if not DIGEST.fullmatch(asked):
            names = [f"{each}:{asked}" for each in also_called(whole)]
        else:
            begins = tuple(f"{each}{mark}" for each in also_called(whole) for mark in ":@")
            names = [name for name in self.layout.names if name.startswith(begins)]
            names = [name for name in names if self.layout.names[name].digest == asked]
        found = [name for name in names if name in self.layout.names]
        if not found:
            raise Refusal(404, "MANIFEST_UNKNOWN", "manifest unknown to registry")
        return found

    def _find(self, whole: str, asked: str) -> Descriptor:
        return self.layout.names[self._names_of(whole, asked)[0]]

    async def _put_manifest(self, request: Request, whole: str, asked: str) -> Response:
        """An image runs under the name it is pushed by; its layers are unpacked before the push is answered."""
        body = await request.read(MANIFEST_BYTES_MAX)
        found = documents.decode(body, "manifest")
        kind = documents.media_type_of(found, request.headers.get("content-type", ""))
        if kind in INDEX_TYPES:
            raise Refusal(400, "MANIFEST_INVALID", "an index is not kept here: push the image for this machine")
        if not DIGEST.fullmatch(asked) and not TAG.fullmatch(asked):
            raise Refusal(400, "TAG_INVALID", "manifest tag did not match URI")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if DIGEST.fullmatch(asked) and asked != digest:
            raise Refusal(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        manifest = documents.parse_manifest(found, digest)
        for blob in (manifest.config, *manifest.layers):
            if not self.layout.has(blob.digest):
                raise Refusal(400, "MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {blob.digest}")
        separator = "@" if DIGEST.fullmatch(asked) else ":"
        media_type = request.headers.get("content-type", kind).partition(";")[0]
        described = Descriptor(media_type, self.layout.put(body), len(body))
        own, *others = (f"{each}{separator}{asked}" for each in also_called(whole))
        for known in (own, *filter(self.layout.names.__contains__, others)):  # no name stays with an older image
            await self.images.receive(known, described)
        self.uploads.named(*(blob.digest for blob in (manifest.config, *manifest.layers)))
        headers = {**API, "Location": f"/v2/{parse(whole).path}/manifests/{digest}", "Docker-Content-Digest": digest}
        return Response(201, headers)

    # Blobs

    def _blob(self, request: Request, digest: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")
        if not DIGEST.fullmatch(digest) or not self.layout.has(digest):
            raise Refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")
        path = self.layout.path(digest)
        size = path.stat().st_size
        headers = {**API, "Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        asked = RANGE.fullmatch(request.headers.get("range", ""))
        begin, end = (int(asked[1]), int(asked[2] or size - 1)) if asked else (0, size - 1)
        if begin > end or begin >= size > 0:
            raise Refusal(416, "SIZE_INVALID", "the range is not in the blob")
        end = min(end, size - 1)
        headers["Content-Length"] = str(end + 1 - begin)
        if asked:
            headers["Content-Range"] = f"bytes {begin}-{end}/{size}"
        body = pieces_of(path, begin, end + 1 - begin) if request.method == "GET" else b""
        return Response(206 if asked else 200, headers, body)

    async def _upload(self, request: Request, name: str, identifier: str) -> Response:
        match request.method, bool(identifier):
            case "POST", False:
                return await self._begin(request, name)
            case "PATCH", True:
                upload = self.uploads.get(identifier)
                await self._receive(request, upload)
                return accepted(name, upload)
            case "PUT", True:
                upload = self.uploads.get(identifier)
                await self._receive(request, upload)
                return self._finish(request, name, upload)
            case "GET", True:
                return accepted(name, self.uploads.get(identifier), status=204)
            case "DELETE", True:
                self.uploads.forget(identifier)
                return Response(204, API)
        raise Refusal(405, "UNSUPPORTED", "the operation is unsupported")

    async def _begin(self, request: Request, name: str) -> Response:
        """A blob that is here already (`mount`) need not be sent: all repositories share the store."""
        params = request.params()
        wanted = "".join(params.get("mount", [])[:1])
        if DIGEST.fullmatch(wanted) and self.layout.has(wanted):
            return created(name, wanted)
        upload = self.uploads.begin()
        if "digest" not in params:
            return accepted(name, upload)
        await self._receive(request, upload)
        return self._finish(request, name, upload)

    async def _receive(self, request: Request, upload: Upload) -> None:
        asked = RANGE.fullmatch(request.headers.get("content-range", ""))
        await self.uploads.receive(upload, pieces_of_body(request), int(asked[1]) if asked else None)

    def _finish(self, request: Request, name: str, upload: Upload) -> Response:
        digest = "".join(request.params().get("digest", [])[:1])
        self.uploads.finish(upload, digest)
        return created(name, digest)


def also_called(name: str) -> tuple[str, ...]:
    """This name first. On this machine `localhost:5000` and `127.0.0.1:5000` are one registry, whoever pushed by which."""
    domain, _, path = name.partition("/")
    host, colon, port = domain.partition(":")
    if host not in LOOPBACK:
        return (name,)
    return (name, *(f"{each}{colon}{port}/{path}" for each in LOOPBACK if each != host))


def accepted(name: str, upload: Upload, status: int = 202) -> Response:
    headers = {**API, "Location": f"/v2/{name}/blobs/uploads/{upload.identifier}"}
    headers["Docker-Upload-UUID"] = upload.identifier
    return Response(status, {**headers, "Range": f"0-{max(upload.size - 1, 0)}"})


def created(name: str, digest: str) -> Response:
    headers = {**API, "Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return Response(201, headers)


async def pieces_of_body(request: Request) -> AsyncIterator[bytes]:
    if isinstance(request.body, bytes):
        if request.body:
            yield request.body
        return
    async for piece in request.body:
        yield piece


async def pieces_of(path: Path, begin: int, length: int) -> AsyncIterator[bytes]:
    with path.open("rb") as opened:
        opened.seek(begin)
        while length and (piece := await asyncio.to_thread(opened.read, min(PIECE, length))):
            length -= len(piece)
            yield piece


def listed(value: Mapping[str, object]) -> Response:
    return Response(200, {**API, "Content-Type": "application/json"}, json.dumps(value).encode())


def told(status: int, code: str, message: str) -> Response:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return Response(status, {**API, "Content-Type": "application/json"}, body)
