"""The images of a running node, for the command line: a few HTTP paths on a unix socket that only its owner opens.

One process owns the store, since it holds in memory what is on disk; others ask it. Paths of files are those of this machine:
who may open the socket is its root (or the cluster's owner) already.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kybern.runtime.build.builder import Builder
from kybern.runtime.build.dockerfile import DockerfileError
from kybern.runtime.build.work import BuildOrder
from kybern.runtime.cri import AuthConfig, RuntimeFault
from kybern.runtime.images.store import ImageStore
from kybern.web.http import Request, Response

JSON = {"Content-Type": "application/json"}
LINES = {"Content-Type": "application/x-ndjson"}
NEWS_MAX = 1000  # lines of a build that wait for a slow reader


class ImageService:
    """A handler for `web.server`. Without a builder nothing can be built: a node that runs no containers."""

    def __init__(self, images: ImageStore, builder: Builder | None) -> None:
        self.images, self.builder = images, builder

    async def __call__(self, request: Request) -> Response:
        params = {name: values[0] for name, values in request.params().items()}
        try:
            return await self._answer(request, params)
        except (RuntimeFault, DockerfileError) as fault:
            return refusal(str(fault))
        except OSError as error:
            return refusal(said(error, params.get("name", "")))

    async def _answer(self, request: Request, params: Mapping[str, str]) -> Response:
        name = params.get("name", "")
        match request.method, request.path:
            case "GET", "/images":
                return answer([msgspec.to_builtins(image) for image in self.images.list()])
            case "POST", "/pull":
                return answer([await self.images.pull(name, auth_of(await request.read()))])
            case "POST", "/push":
                return answer([await self.images.push(name, auth_of(await request.read()))])
            case "POST", "/load":
                return answer(await self.images.load(Path(name)))
            case "POST", "/save":
                await self.images.save(request.params()["name"], Path(params["file"]))
                return answer([])
            case "POST", "/tag":
                return answer([self.images.tag(name, params["new"])])
            case "POST", "/prune":
                return await self._prune(everything="all" in params)
            case "POST", "/build":
                return self._build(msgspec.json.decode(await request.read(), type=BuildOrder))
            case "DELETE", "/images":
                return await self._remove(name)
        return Response(404, JSON, msgspec.json.encode("no such path"))

    async def _remove(self, name: str) -> Response:
        if self.images.status(name) is None:
            return Response(404, JSON, msgspec.json.encode(f"there is no image {name!r}"))
        await self.images.remove_name(name)
        return answer([name])

    async def _prune(self, *, everything: bool) -> Response:
        if self.builder is not None:
            self.builder.cache.forget_all()
        gone, freed = await self.images.prune(everything=everything)
        return answer([*gone, freed])

    def _build(self, order: BuildOrder) -> Response:
        if self.builder is None:
            return refusal("this node runs no containers, so nothing can be built")
        return Response(200, LINES, news_of(self.builder, order))


async def news_of(builder: Builder, order: BuildOrder) -> AsyncIterator[bytes]:
    """What a build tells, a JSON object a line; the last one is `image` or `error`. It ends when nobody reads on."""
    news: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(NEWS_MAX)

    async def work() -> None:
        try:
            identifier, names = await builder.build(order, news.put)
        except (DockerfileError, RuntimeFault, OSError) as error:
            await news.put({"error": said(error, order.context) if isinstance(error, OSError) else str(error)})
        else:
            await news.put({"image": identifier, "names": names})

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work())
        try:
            last = False
            while not last:
                found = await news.get()
                last = "error" in found or "image" in found
                yield msgspec.json.encode(found) + b"\n"
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def said(error: OSError, about: str) -> str:
    return f"{error.filename or about}: {(error.strerror or str(error)).lower()}"


def auth_of(body: bytes) -> AuthConfig | None:
    return msgspec.json.decode(body, type=AuthConfig) if body else None


def answer(value: object) -> Response:
    return Response(200, JSON, msgspec.json.encode(value))


def refusal(message: str) -> Response:
    return Response(409, JSON, msgspec.json.encode(message))
