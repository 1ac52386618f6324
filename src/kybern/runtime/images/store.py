"""What a runtime asks of images: by name, digest or id; pulled, loaded, listed, removed.

index name -> manifest -> configuration (whose digest is the image's id) -> layers, unpacked as snapshots
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

from kybern.runtime.cri import AuthConfig, Image, RuntimeFault
from kybern.runtime.images import host
from kybern.runtime.images import manifest as documents
from kybern.runtime.images.archive import read_archive
from kybern.runtime.images.hosts import BadHosts, hosts_of
from kybern.runtime.images.image import ReadyImage, defaults_of, described
from kybern.runtime.images.layout import ARCHIVE, Layout, Needed
from kybern.runtime.images.manifest import BadImage, Descriptor
from kybern.runtime.images.pull import pull, read_config, read_manifest, unpack_all
from kybern.runtime.images.push import push
from kybern.runtime.images.reference import Reference, parse
from kybern.runtime.images.registry import Registry, RegistryError
from kybern.runtime.images.saving import save
from kybern.runtime.images.snapshots import Snapshots, chain_ids
from kybern.runtime.images.sources import Source


@dataclass(frozen=True, slots=True)
class Kept:
    """A layer that stays although no name leads to it: its blob, and the diff ids of what it lies on and of itself."""

    blob: str
    diff_ids: tuple[str, ...]


class ImageStore:
    def __init__(
        self,
        directory: Path,
        *,
        hidden: tuple[Path, ...] = (),
        host_image: bool = True,
        hosts: Path | None = None,
        source: Source | None = None,
    ) -> None:
        """`hidden` are directories that the image of the machine's own root shows empty, besides this one. `hosts`: where
        the registries' mirrors are said. `source`: where some registries' images are pulled from instead."""
        self.layout, self.snapshots = Layout(directory), Snapshots(directory / "snapshots")
        self.hosts, self.source = hosts, source
        self.host = host.host_image((directory, *hidden)) if host_image else None
        self.ready: dict[str, ReadyImage] = {}
        """By manifest digest."""
        self.pulling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.in_use: Callable[[], Iterable[str]] = tuple
        """The ids of images that containers are made from; set by the runtime."""
        self.also_kept: Callable[[], Iterable[Kept]] = tuple
        """What builds want to find again; set by the builder."""
        self.unnamed: dict[str, ReadyImage] = {}
        self.making_room = asyncio.Lock()
        self.snapshots.sweep()

    def get(self, name: str) -> ReadyImage | None:
        """By name, digest or id, when everything of it is there."""
        if self.host is not None and host.is_host(name):
            return self.host
        if name in self.unnamed:
            return self.unnamed[name]
        found = self.find(name)
        return self._ready(found) if found is not None else None

    @contextlib.contextmanager
    def held(self, image: ReadyImage) -> Iterator[None]:
        """An image that has no name, to be found by its id meanwhile."""
        self.unnamed[image.id] = image
        try:
            yield
        finally:
            del self.unnamed[image.id]

    def find(self, name: str) -> Descriptor | None:
        """The manifest that a name, digest or id stands for."""
        if name in self.layout.names:
            return self.layout.names[name]
        if is_id(name):
            wanted = name if name.startswith("sha256:") else f"sha256:{name}"
            return next((each for each in self._manifests() if self._id(each) == wanted or each.digest == wanted), None)
        try:
            reference = parse(name)
        except RuntimeFault:
            return None
        if reference.digest:
            return next((each for each in self._manifests() if each.digest == reference.digest), None) or next(
                (each for known, each in self.layout.names.items() if known.endswith(f"@{reference.digest}")), None
            )
        return self.layout.names.get(reference.name)

    def _manifests(self) -> list[Descriptor]:
        return list({each.digest: each for each in self.layout.names.values()}.values())

    def _id(self, manifest: Descriptor) -> str:
        ready = self._ready(manifest)
        return ready.id if ready is not None else ""

    def _ready(self, found: Descriptor) -> ReadyImage | None:
        if found.digest in self.ready:
            return self.ready[found.digest]
        try:
            manifest = read_manifest(self.layout, found.digest)
            config = read_config(self.layout, manifest)
            layers = self.snapshots.layers(documents.diff_ids(config, len(manifest.layers)))
            if layers is None:
                return None
            made = ReadyImage(id=manifest.config.digest, layers=layers, defaults=defaults_of(config))
        except (BadImage, OSError, ValueError):
            return None
        self.ready[found.digest] = made
        return made

    async def pull(self, name: str, auth: AuthConfig | None = None) -> str:
        """The image's id. RuntimeFault ErrImagePull or InvalidImageName, in containerd's words."""
        if self.host is not None and host.is_host(name):
            return host.ID
        reference = parse(name)
        async with self.pulling.setdefault(reference.name, asyncio.Lock()):
            whole = f'failed to pull and unpack image "{reference.name}": '
            try:
                with Needed(self.layout) as needed:
                    found = await self._pull_from_any(reference, auth, needed)
                    return self._add(reference.name, found, whole)
            except RegistryError as error:
                told = f'{whole}failed to resolve reference "{reference.name}": {error}'
                raise RuntimeFault("ErrImagePull", told) from error
            except (BadHosts, TimeoutError) as error:
                raise RuntimeFault("ErrImagePull", f"{whole}{error}") from error
            except (BadImage, OSError) as error:
                await self.collect()  # what a registry broke off is continued, but this is not
                raise RuntimeFault("ErrImagePull", f"{whole}{error}") from error

    async def _pull_from_any(self, reference: Reference, auth: AuthConfig | None, needed: Needed) -> Descriptor:
        """From the first mirror that has it; else from the registry itself, whose failure counts."""
        *mirrors, last = self._registries(reference, auth)
        for mirror in mirrors:
            with contextlib.suppress(RegistryError, BadImage, TimeoutError), contextlib.closing(mirror):
                return await pull(mirror, reference, self.layout, self.snapshots, needed)
        with contextlib.closing(last):
            return await pull(last, reference, self.layout, self.snapshots, needed)

    def _registries(self, reference: Reference, auth: AuthConfig | None) -> list[Registry]:
        if self.source is not None and reference.domain in self.source.domains:
            return [self.source.registry(reference)]
        hosts = hosts_of(self.hosts, reference.domain)
        mirrors = [Registry(reference, None, host) for host in hosts.to_pull(reference)]
        return [*mirrors, Registry(reference, auth, hosts.server)]

    def _add(self, name: str, manifest: Descriptor, whole: str) -> str:
        ready = self._ready(manifest)
        if ready is None:
            raise RuntimeFault("ErrImagePull", f"{whole}its configuration is not usable")
        self._name(name, manifest)
        return ready.id

    def _name(self, name: str, manifest: Descriptor) -> None:
        """The image that had the name keeps one by its digest: containers may be made from it."""
        old = self.layout.names.get(name)
        self.layout.tag(name, manifest)
        if old is not None:
            self._keep(name, old)

    def _keep(self, name: str, manifest: Descriptor) -> None:
        if manifest.digest not in {each.digest for each in self.layout.names.values()}:
            self.layout.tag(f"{_repository(name)}@{manifest.digest}", manifest)

    def untag(self, name: str) -> None:
        """What containers are made from keeps a name by its digest."""
        manifest = self.layout.names[name]
        self.layout.untag(name)
        if self._id(manifest) in set(self.in_use()):
            self._keep(name, manifest)

    async def load(self, path: Path) -> list[str]:
        """The names in a docker or OCI archive."""
        try:
            with Needed(self.layout) as needed:
                found = await asyncio.to_thread(read_archive, path, self.layout, needed)
                for _, each in found:
                    await self._unpack(each, needed)
                for name, each in found:
                    self._add(name, each, f'failed to load image "{name}": ')
        except BadImage as error:
            await self.collect()
            raise RuntimeFault("ErrImagePull", f"failed to load {path.name}: {error}") from error
        return [name for name, _ in found]

    async def receive(self, name: str, manifest: Descriptor) -> str:
        """An image whose blobs were brought here: unpacked, and named; its id. BadImage when it cannot be used."""
        with Needed(self.layout) as needed:
            await self._unpack(manifest, needed)
            return self.add(name, manifest)

    async def _unpack(self, found: Descriptor, needed: Needed) -> None:
        manifest = read_manifest(self.layout, found.digest)
        needed.add(found.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers))
        for blob in (manifest.config, *manifest.layers):
            if not self.layout.has(blob.digest):
                raise BadImage(f"there is no blob {blob.digest}")
        ids = documents.diff_ids(read_config(self.layout, manifest), len(manifest.layers))
        needed.add(*chain_ids(ids))
        await unpack_all(self.snapshots, self.layout, manifest.layers, ids)

    async def push(self, name: str, auth: AuthConfig | None = None) -> str:
        """To the registry that its name says; the digest. RuntimeFault ErrImagePush."""
        reference, found = parse(name), self._named(name)
        try:
            with contextlib.closing(
                Registry(reference, auth, hosts_of(self.hosts, reference.domain).server)
            ) as registry:
                await push(registry, self.layout, found)
        except (RegistryError, BadImage, BadHosts, OSError, TimeoutError) as error:
            raise RuntimeFault("ErrImagePush", f'failed to push "{reference.name}": {error}') from error
        return found.digest

    def _named(self, name: str) -> Descriptor:
        found = self.find(name)
        if found is None:
            raise RuntimeFault("NotFound", f"there is no image {name!r}")
        return found

    async def save(self, names: Sequence[str], path: Path) -> None:
        images = {parse(name).name: self._named(name) for name in names}
        await asyncio.to_thread(save, self.layout, images, path)

    def tag(self, name: str, new: str) -> str:
        """Another name for an image; that name in full."""
        reference = parse(new)
        if reference.digest:
            raise RuntimeFault("InvalidImageName", f"{new!r} has a digest, which no image can be given")
        self._name(reference.name, self._named(name))
        return reference.name

    async def prune(self, *, everything: bool) -> tuple[list[str], int]:
        """Images without a tag go, or with `everything` all that no container uses, and what no name leads to:
        (the names, the bytes that were freed)."""
        before = await asyncio.to_thread(self.layout.bytes_held)
        used = set(self.in_use())
        unused = {each.digest for each in self._manifests() if self._id(each) not in used}
        gone = [
            name for name, each in self.layout.names.items() if each.digest in unused and (everything or "@" in name)
        ]
        for name in gone:
            self.layout.untag(name)
        await self.collect()
        return gone, before - await asyncio.to_thread(self.layout.bytes_held)

    def add(self, name: str, manifest: Descriptor) -> str:
        """Name an image whose blobs and layers are here; its id."""
        reference = parse(name)
        return self._add(reference.name, manifest, f'failed to name image "{reference.name}": ')

    def status(self, name: str) -> Image | None:
        """Every container that starts asks this: the other images are not looked at."""
        if self.host is not None and host.is_host(name):
            return host_described(self.host)
        found = self.find(name)
        return self._described(found) if found is not None else None

    def list(self) -> list[Image]:
        images = [self._described(each) for each in self._manifests()]
        found = [image for image in images if image is not None]
        if self.host is not None:
            found.append(host_described(self.host))
        return found

    def _described(self, manifest: Descriptor) -> Image | None:
        ready = self._ready(manifest)
        if ready is None:
            return None
        names = [name for name, each in self.layout.names.items() if each.digest == manifest.digest]
        parsed = read_manifest(self.layout, manifest.digest)
        size = parsed.config.size + sum(layer.size for layer in parsed.layers)
        tags = tuple(name for name in names if "@" not in name)
        digests = sorted({f"{_repository(name)}@{manifest.digest}" for name in names})
        return described(ready, tags, tuple(digests), size, pinned=False)

    async def remove_name(self, name: str) -> None:
        """The image goes with the last of its names. By digest or id, all of them are meant."""
        full = name if name in self.layout.names or is_id(name) else parse(name).name
        found = self.layout.names.get(full)
        if found is not None and [each.digest for each in self.layout.names.values()].count(found.digest) > 1:
            self.layout.untag(full)
        else:
            await self.remove(name)

    async def remove(self, name: str) -> None:
        """All names of the image; what no other image and no container needs goes with it."""
        found = self.find(name)
        if found is None:
            return
        if self._id(found) in set(self.in_use()):
            raise RuntimeFault("ImageInUse", f"image {name!r} is used by a container")
        for known in [known for known, each in self.layout.names.items() if each.digest == found.digest]:
            self.layout.untag(known)
        self.ready.pop(found.digest, None)
        await self.collect()

    async def collect(self) -> None:
        """Remove blobs and snapshots that no name leads to and nobody is bringing, and what is left of broken pulls."""
        await asyncio.shield(asyncio.ensure_future(self._make_room()))  # whoever goes away does not end the thread

    async def _make_room(self) -> None:
        async with self.making_room:
            self.layout.arrived = set()  # what gets its name from now on is among these
            try:
                await asyncio.to_thread(self._collect, self._manifests())
            finally:
                self.layout.arrived = None

    def _collect(self, named: Iterable[Descriptor]) -> None:
        blobs: set[str] = set()
        chains: set[str] = set()
        for each in named:
            with contextlib.suppress(BadImage, FileNotFoundError):  # cut short by a lost machine: it is pulled anew
                manifest = read_manifest(self.layout, each.digest)
                diff_ids = documents.diff_ids(read_config(self.layout, manifest), len(manifest.layers))
                blobs |= {each.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)}
                chains |= set(chain_ids(diff_ids))
        for kept in self.also_kept():
            blobs.add(kept.blob)
            chains |= set(chain_ids(kept.diff_ids))
        for path in (*self.layout.blobs.iterdir(), *self.layout.ingest.iterdir()):
            digest = f"sha256:{path.name}"
            if digest not in blobs and not path.name.startswith(ARCHIVE) and not self.layout.is_needed(digest):
                path.unlink(missing_ok=True)
        self.snapshots.keep_only(lambda chain: chain in chains or self.layout.is_needed(chain))


def is_id(name: str) -> bool:
    """Or a digest."""
    return name.startswith("sha256:") or (len(name) == 64 and "/" not in name)


def host_described(image: ReadyImage) -> Image:
    return described(image, (f"{host.NAME}:latest",), (), 0, pinned=True)


def _repository(name: str) -> str:
    reference = parse(name)
    return reference.repository
