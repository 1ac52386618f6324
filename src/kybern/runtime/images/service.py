"""The image store of a running node, for the command line: a few HTTP paths on a unix socket that only its owner opens.

One process owns the store, since it holds in memory what is on disk; others ask it.
"""

from pathlib import Path

import msgspec

from kybern.runtime.cri import RuntimeFault
from kybern.runtime.images.store import ImageStore
from kybern.web.http import Request, Response

JSON = {"Content-Type": "application/json"}


class ImageService:
    """A handler for `web.server`."""

    def __init__(self, images: ImageStore) -> None:
        self.images = images

    async def __call__(self, request: Request) -> Response:
        name = "".join(request.params().get("name", [])[:1])
        try:
            match request.method, request.path:
                case "GET", "/images":
                    return answer([msgspec.to_builtins(image) for image in self.images.list()])
                case "POST", "/pull":
                    return answer([await self.images.pull(name)])
                case "POST", "/load":
                    return answer(await self.images.load(Path(name)))
                case "DELETE", "/images":
                    return await self._remove(name)
        except RuntimeFault as fault:
            return Response(409, JSON, msgspec.json.encode(fault.message))
        except OSError as error:
            return Response(409, JSON, msgspec.json.encode(f"{name}: {(error.strerror or str(error)).lower()}"))
        return Response(404, JSON, msgspec.json.encode("no such path"))

    async def _remove(self, name: str) -> Response:
        if self.images.status(name) is None:
            return Response(404, JSON, msgspec.json.encode(f"there is no image {name!r}"))
        await self.images.remove(name)
        return answer([name])


def answer(value: object) -> Response:
    return Response(200, JSON, msgspec.json.encode(value))
