"""CRI's ImageService over a runtime, and the room that its images take."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kybern.aio.clock import Clock
from kybern.runtime.cri import AuthConfig, Runtime
from kybern.runtime.disk_usage import DiskUsage
from kybern.runtime.remote import told, values
from kybern.runtime.remote.mapping import NANOSECONDS, from_message


class ImageCalls:
    def __init__(self, runtime: Runtime, directory: Path, clock: Clock) -> None:
        self.runtime, self.directory, self.clock, self.disk = runtime, directory, clock, DiskUsage()

    async def ListImages(self, request: Any) -> Mapping[str, Any]:
        name = request.filter.image.image
        if name:
            found = await self.runtime.image_status(name)
            return {"images": [told.image(found)] if found else []}
        return {"images": [told.image(each) for each in await self.runtime.list_images()]}

    async def ImageStatus(self, request: Any) -> Mapping[str, Any]:
        found = await self.runtime.image_status(request.image.image)
        return {"image": told.image(found)} if found else {}

    async def PullImage(self, request: Any) -> Mapping[str, Any]:
        auth = login(request.auth) if request.HasField("auth") else None
        return {"image_ref": await self.runtime.pull_image(request.image.image, auth)}

    async def RemoveImage(self, request: Any) -> Mapping[str, Any]:
        if await self.runtime.image_status(request.image.image) is not None:
            await self.runtime.remove_image(request.image.image)
        return {}

    async def ImageFsInfo(self, request: Any) -> Mapping[str, Any]:
        used = await self.disk.of(str(self.directory))
        return {
            "image_filesystems": [
                {
                    "timestamp": round(self.clock.wall() * NANOSECONDS),
                    "fs_id": {"mountpoint": str(self.directory)},
                    "used_bytes": {"value": used.bytes},
                    "inodes_used": {"value": used.inodes},
                }
            ]
        }


def login(given: Any) -> AuthConfig:
    """`auth` is name and password as docker keeps them. ValueError where it is not."""
    auth: AuthConfig = from_message(values.AUTH, given)
    if auth.username or not given.auth:
        return auth
    name, _, password = base64.b64decode(given.auth, validate=True).decode().partition(":")
    return replace(auth, username=name, password=password.rstrip("\0"))
