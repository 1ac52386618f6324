"""The node's registry endpoint, pushed to by skopeo and by this project's own client, pulled from by both."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from oci_images import BuiltImage, busybox, oci_archive

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.runtime.images.endpoint import RegistryEndpoint
from kybern.runtime.images.store import ImageStore
from kybern.web.client import Client
from kybern.web.http import Request, Response
from kybern.web.server import serve

pytestmark = pytest.mark.linux


@dataclass
class Registry:
    store: ImageStore
    address: str
    client: Client

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Response:
        path, _, query = path.partition("?")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.send(Request(method, path, query, named, body))

    async def upload(self, data: bytes) -> str:
        """A blob, by one request after the first."""
        begun = await self.ask("POST", "/v2/app/blobs/uploads/")
        assert begun.status == 202
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        done = await self.ask("PUT", f"{begun.headers['location']}?digest={digest}", data)
        assert done.status == 201
        return digest


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    store = ImageStore(tmp_path / "images")
    server = await serve(RegistryEndpoint(store, SystemClock(), Ids()), host="127.0.0.1", port=0)
    async with Client(f"http://127.0.0.1:{server.port}") as client:
        yield Registry(store, f"127.0.0.1:{server.port}", client)
    await server.close()


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_skopeo_pushes_inspects_and_pulls(registry: Registry, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(oci_archive(busybox(), "example.com/x/app:1"))
    name = f"{registry.address}/x/app:1"
    await run("skopeo", "copy", "--dest-tls-verify=false", f"oci-archive:{archive}", f"docker://{name}")
    found = registry.store.get(name)
    assert found is not None and found.defaults.cmd == ("sh",), "it can be run under the name it was pushed by"
    about = json.loads(await run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert about["RepoTags"] == ["1"] and len(about["Layers"]) == 2
    await run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"dir:{tmp_path}/copy")
    other = name.replace("127.0.0.1", "localhost")
    assert json.loads(await run("skopeo", "inspect", "--tls-verify=false", f"docker://{other}"))["RepoTags"] == ["1"]
    assert await registry.store.pull(other) == found.id, "one registry, whatever its name"
    await run("skopeo", "delete", "--tls-verify=false", f"docker://{name}")
    assert registry.store.get(name) is None is registry.store.get(other)


async def test_a_newer_image_is_had_by_either_name_of_the_registry(registry: Registry, tmp_path: Path) -> None:
    name, archive, mine = f"{registry.address}/app:1", tmp_path / "image.tar", ImageStore(tmp_path / "mine")
    other = name.replace("127.0.0.1", "localhost")
    for command in ("first", "second"):
        archive.write_bytes(oci_archive(busybox({"Cmd": [command]}), name))
        await mine.load(archive)
        await mine.push(name)
        assert await registry.store.pull(other) == mine.get(name).id  # type: ignore[union-attr]


async def test_a_store_pushes_to_another_and_pulls_from_it(registry: Registry, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(oci_archive(busybox(), f"{registry.address}/app:1"))
    mine = ImageStore(tmp_path / "mine")
    await mine.load(archive)
    digest = await mine.push(f"{registry.address}/app:1")
    other = ImageStore(tmp_path / "other")
    await other.pull(f"{registry.address}/app@{digest}")
    saved = tmp_path / "saved.tar"
    await other.save([f"{registry.address}/app@{digest}"], saved)
    await run("skopeo", "inspect", f"oci-archive:{saved}")


async def test_pieces_must_be_in_order_and_fit_their_digest(registry: Registry) -> None:
    place = (await registry.ask("POST", "/v2/app/blobs/uploads/")).headers["location"]
    first = await registry.ask("PATCH", place, b"abc", content_range="0-2")
    assert (first.status, first.headers["range"]) == (202, "0-2")
    assert (await registry.ask("PATCH", place, b"xyz", content_range="7-9")).status == 416
    assert (await registry.ask("GET", place)).headers["range"] == "0-2"
    wrong = await registry.ask("PUT", f"{place}?digest=sha256:{'0' * 64}")
    assert (wrong.status, json.loads(await wrong.read())["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    assert (await registry.ask("GET", place)).status == 404, "what did not fit is forgotten"


async def test_blobs_whose_manifest_is_still_to_come_stay_when_room_is_made(registry: Registry) -> None:
    image = busybox()
    for blob in image.blobs.values():
        await registry.upload(blob)
    await registry.store.prune(everything=True)
    kind = json.loads(image.manifest)["mediaType"]
    assert (await registry.ask("PUT", "/v2/app/manifests/1", image.manifest, content_type=kind)).status == 201
    await registry.store.prune(everything=True)
    assert not list(registry.store.layout.blobs.iterdir()), "what was named once is nobody's when the name goes"


async def test_blobs_are_given_in_ranges(registry: Registry) -> None:
    digest = await registry.upload(b"0123456789")
    part = await registry.ask("GET", f"/v2/app/blobs/{digest}", range="bytes=2-4")
    assert (part.status, await part.read(), part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert (await registry.ask("HEAD", f"/v2/app/blobs/{digest}")).headers["content-length"] == "10"
    assert (await registry.ask("GET", f"/v2/app/blobs/{digest}", range="bytes=10-")).status == 416


def manifest_with(image: BuiltImage, **fields: object) -> bytes:
    return json.dumps({**json.loads(image.manifest), **fields}).encode()


async def test_manifests_that_cannot_be_used_are_refused_and_leave_no_name(registry: Registry) -> None:
    image = busybox()
    kind = json.loads(image.manifest)["mediaType"]
    missing = await registry.ask("PUT", "/v2/app/manifests/1", image.manifest, content_type=kind)
    assert json.loads(await missing.read())["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    for blob in image.blobs.values():
        await registry.upload(blob)
    layers = json.loads(image.manifest)["layers"]
    for body in (b"{", manifest_with(image, layers=layers[:1]), manifest_with(image, manifests=[])):
        assert (await registry.ask("PUT", "/v2/app/manifests/1", body, content_type=kind)).status == 400
    assert (await registry.ask("PUT", f"/v2/app/manifests/sha256:{'0' * 64}", image.manifest)).status == 400
    assert not registry.store.layout.names
    assert (await registry.ask("PUT", "/v2/app/manifests/1", image.manifest, content_type=kind)).status == 201
    assert json.loads(await (await registry.ask("GET", "/v2/app/tags/list")).read())["tags"] == ["1"]
    assert json.loads(await (await registry.ask("GET", "/v2/_catalog")).read()) == {"repositories": ["app"]}


@pytest.mark.parametrize(
    "path", ["/v2/../../etc/passwd", "/v2/app/blobs/../../x", "/v2/app/blobs/uploads/../x", "/other"]
)
async def test_other_paths_lead_nowhere(registry: Registry, path: str) -> None:
    assert (await registry.ask("GET", path)).status == 404
