"""Images that this node built, loaded or was pushed, brought into a runtime that keeps its own: it pulls them from here.

CRI has no call that brings an image; every runtime can pull. So the node's store is a registry on loopback, for who knows
the password that comes with each pull, and an image is asked for by its digest there.
"""

from dataclasses import replace
from pathlib import Path

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.runtime.cri import AuthConfig, ContainerConfig
from kybern.runtime.images import host
from kybern.runtime.images.manifest import Descriptor
from kybern.runtime.images.mirror import MirrorEndpoint
from kybern.runtime.images.pull import read_manifest
from kybern.runtime.images.reference import parse
from kybern.runtime.images.sources import USER, mirrored
from kybern.runtime.images.store import ImageStore
from kybern.runtime.remote import host_image


class LocalImages:
    def __init__(self, images: ImageStore, directory: Path, clock: Clock, ids: Ids) -> None:
        self.images, self.nothing = images, directory / "nothing"
        self.endpoint = MirrorEndpoint(images, clock, ids)
        self.endpoint.password = f"{ids.rng.getrandbits(256):064x}"
        self.auth = AuthConfig(username=USER, password=self.endpoint.password)
        self.address = ""
        """Where the endpoint is served; until then nothing is."""
        self.machine: Descriptor | None = None
        """What stands for the machine's own image."""

    def open(self, address: str) -> None:
        self.nothing.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.machine = host_image.put_image(self.images.layout) if self.images.host is not None else None
        self.address = address

    def reference(self, name: str) -> str | None:
        """By which the runtime pulls an image of ours; None for everybody else's."""
        if not self.address:
            return None
        if host.is_host(name) and self.machine is not None:
            return f"{self.address}/{mirrored(parse(host_image.NAME))}@{self.machine.digest}"
        found = self.images.layout.names.get(name) or self._named(name)
        return f"{self.address}/{mirrored(parse(name))}@{found.digest}" if found is not None else None

    def _named(self, name: str) -> Descriptor | None:
        return None if name.startswith("sha256:") else self.images.layout.names.get(parse(name).name)

    def with_machine(self, config: ContainerConfig) -> ContainerConfig:
        """A container of the machine's own image sees the machine's directories."""
        if self.machine is None or config.image != read_manifest(self.images.layout, self.machine.digest).config.digest:
            return config
        return replace(config, mounts=(*host_image.mounts_of("/", self.nothing), *config.mounts))
