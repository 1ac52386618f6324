"""What a runtime asks of images."""

import asyncio
from pathlib import Path

from kybern.runtime.cri import AuthConfig, Image, RuntimeFault
from kybern.runtime.images import host
from kybern.runtime.images.image import ReadyImage, described


class ImageStore:
    def __init__(self, directory: Path, *, hidden: tuple[Path, ...] = (), host_image: bool = True) -> None:
        self.directory = directory
        self.host = host.host_image((directory, *hidden)) if host_image else None

    def get(self, name: str) -> ReadyImage | None:
        if self.host is not None and host.is_host(name):
            return self.host
        return None

    def status(self, name: str) -> Image | None:
        found = self.get(name)
        return described(found, (f"{host.NAME}:latest",), (), 0, pinned=True) if found else None

    def list(self) -> list[Image]:
        found = self.status(host.NAME)
        return [found] if found else []

    async def pull(self, name: str, auth: AuthConfig | None) -> str:
        await asyncio.sleep(0)
        found = self.get(name)
        if found is None:
            raise RuntimeFault("ErrImagePull", name)
        return found.id

    async def remove(self, name: str) -> None:
        return
