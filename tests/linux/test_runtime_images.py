"""Pulls from a registry that works, breaks off or lies, and images from archives."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from image_registry import ImageRegistry, image_registry
from oci_images import INDEX, archive, build, busybox, digest_of, docker_archive, entry, oci_archive

from kybern.runtime.cri import AuthConfig, RuntimeFault
from kybern.runtime.images import host
from kybern.runtime.images.layout import Incoming
from kybern.runtime.images.store import ImageStore
from kybern.web.http import Response

pytestmark = pytest.mark.linux

SMALL = build([archive([entry("hello", b"world" * 10_000)])], {"Cmd": ["/hello"]})


@pytest.fixture
async def registry() -> AsyncIterator[ImageRegistry]:
    async with image_registry() as made:
        made.add("test/small", SMALL)
        yield made


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


async def test_an_image_is_pulled_once_and_shared(registry: ImageRegistry, store: ImageStore) -> None:
    name = f"{registry.address}/test/small"
    first, second = await asyncio.gather(store.pull(name), store.pull(name))
    assert first == second == json.loads(SMALL.manifest)["config"]["digest"]
    assert len([path for path in registry.requests if "/blobs/" in path]) == 2
    image = store.status(name)
    assert image is not None and image.repo_tags == (f"{name}:latest",)
    assert image.repo_digests == (f"{name}@{SMALL.digest}",)
    for known in (first, f"{name}:latest", f"{name}@{SMALL.digest}"):
        found = store.get(known)
        assert found is not None and (Path(found.layers[0]) / "hello").exists()


async def test_an_index_leads_to_the_manifest_for_this_machine(registry: ImageRegistry, store: ImageStore) -> None:
    entries = [
        {
            "mediaType": "x",
            "digest": SMALL.digest,
            "size": len(SMALL.manifest),
            "platform": {"os": "linux", "architecture": name},
        }
        for name in ("amd64", "arm64")
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    registry.manifests["test/many:latest"] = (index, INDEX)
    registry.manifests[f"test/many:{SMALL.digest}"] = registry.manifests["test/small:latest"]
    assert await store.pull(f"{registry.address}/test/many") == json.loads(SMALL.manifest)["config"]["digest"]


async def test_a_broken_off_blob_is_continued(registry: ImageRegistry, store: ImageStore) -> None:
    registry.add("test/busybox", busybox())
    registry.break_off_after = 300_000
    await store.pull(f"{registry.address}/test/busybox")
    assert registry.break_off_after == 0


async def test_a_blob_is_hashed_and_written_off_the_event_loop(
    registry: ImageRegistry, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, write, seen = threading.get_ident(), Incoming.write, []

    def watched(incoming: Incoming, data: bytes) -> None:
        seen.append((threading.get_ident() != loop, len(data)))
        write(incoming, data)

    large = build([archive([entry("large", random.Random(1).randbytes(5 << 20))])], {})
    registry.add("test/large", large)
    monkeypatch.setattr(Incoming, "write", watched)
    await store.pull(f"{registry.address}/test/large")
    assert sum(size for apart, size in seen if apart) > 5 << 20
    assert max(size for apart, size in seen if not apart) < 64 << 10
    assert len(seen) < 15


async def test_tokens_are_fetched_with_the_credentials(registry: ImageRegistry, store: ImageStore) -> None:
    registry.login = "me:secret"
    name = f"{registry.address}/test/small"
    assert await store.pull(name, AuthConfig(username="me", password="secret"))
    for auth in (None, AuthConfig(username="me", password="wrong")):
        with pytest.raises(RuntimeFault, match=r"failed to (authorize|resolve)") as refused:
            await store.pull(name, auth)
        assert "secret" not in refused.value.message


async def test_what_is_not_there_is_not_found_in_upstreams_words(registry: ImageRegistry, store: ImageStore) -> None:
    name = f"{registry.address}/test/none:v1"
    with pytest.raises(RuntimeFault) as refused:
        await store.pull(name)
    assert refused.value.reason == "ErrImagePull"
    assert refused.value.message == (
        f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found'
    )


async def test_a_blob_that_is_not_what_it_is_named_is_refused(registry: ImageRegistry, store: ImageStore) -> None:
    layer = json.loads(SMALL.manifest)["layers"][0]["digest"]
    registry.blobs[layer] = registry.blobs[layer][:-1] + b"!"
    with pytest.raises(RuntimeFault, match="unexpected commit digest"):
        await store.pull(f"{registry.address}/test/small")
    assert store.status(f"{registry.address}/test/small") is None
    assert not store.layout.has(layer)


@pytest.mark.parametrize("change", [5, -5])
async def test_a_size_that_lies_is_refused(registry: ImageRegistry, store: ImageStore, change: int) -> None:
    manifest = json.loads(SMALL.manifest)
    manifest["layers"][0]["size"] += change
    registry.manifests["test/liar:latest"] = (json.dumps(manifest).encode(), manifest["mediaType"])
    with pytest.raises(RuntimeFault, match=r"ErrImagePull|ended after|is longer|failed to"):
        await store.pull(f"{registry.address}/test/liar")


async def test_a_wrong_layer_digest_is_never_used(registry: ImageRegistry, store: ImageStore) -> None:
    image = build([archive([entry("f", b"x")])])
    config = json.loads(image.blobs[json.loads(image.manifest)["config"]["digest"]])
    config["rootfs"]["diff_ids"] = [digest_of(b"other")]
    body = json.dumps(config).encode()
    manifest = json.loads(image.manifest)
    manifest["config"] |= {"digest": digest_of(body), "size": len(body)}
    registry.blobs |= {**image.blobs, digest_of(body): body}
    registry.manifests["test/wrong:latest"] = (json.dumps(manifest).encode(), manifest["mediaType"])
    with pytest.raises(RuntimeFault, match="wrong diff id"):
        await store.pull(f"{registry.address}/test/wrong")


async def test_endless_redirects_and_login_loops_end(store: ImageStore) -> None:
    async with image_registry() as hostile:
        hostile.answer = lambda request: Response(307, {"Location": request.path + "/x"})
        with pytest.raises(RuntimeFault, match="stopped after 10 redirects"):
            await store.pull(f"{hostile.address}/x")
        realm = f'Bearer realm="http://{hostile.address}/again"'
        hostile.answer = lambda request: Response(401, {"WWW-Authenticate": realm})
        with pytest.raises(RuntimeFault, match="failed to fetch token"):
            await store.pull(f"{hostile.address}/x")


@pytest.mark.parametrize("pack", [oci_archive, docker_archive])
async def test_archives_are_loaded(store: ImageStore, tmp_path: Path, pack: object) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(pack(SMALL, "example.com/test/small:v2"))  # type: ignore[operator]
    assert await store.load(path) == ["example.com/test/small:v2"]
    found = store.get("example.com/test/small:v2")
    assert found is not None and (Path(found.layers[0]) / "hello").read_bytes() == b"world" * 10_000


@pytest.mark.parametrize(
    "entries",
    [
        [("manifest.json", b'[{"Config":"../../etc/passwd","Layers":["../x"],"RepoTags":["a:b"]}]')],
        [("manifest.json", b'{"a":1}')],
        [("manifest.json", b"[" * 100_000)],
        [("index.json", b'{"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}')],
        [("nothing", b"")],
    ],
)
async def test_hostile_archives_are_refused(
    store: ImageStore, tmp_path: Path, entries: list[tuple[str, bytes]]
) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(archive(entry(name, data) for name, data in entries))
    with pytest.raises(RuntimeFault, match="failed to load"):
        await store.load(path)


async def test_removing_an_image_removes_what_no_other_needs(registry: ImageRegistry, store: ImageStore) -> None:
    shared = archive([entry("base", b"b")])
    registry.add("test/one", build([shared, archive([entry("one", b"1")])]))
    registry.add("test/two", build([shared, archive([entry("two", b"2")])]))
    await store.pull(f"{registry.address}/test/one")
    await store.pull(f"{registry.address}/test/two")
    assert len(list(store.snapshots.directory.iterdir())) == 3
    await store.remove(f"{registry.address}/test/one")
    assert len(list(store.snapshots.directory.iterdir())) == 2
    assert store.get(f"{registry.address}/test/two") is not None
    store.in_use = lambda: [store.get(f"{registry.address}/test/two").id]  # type: ignore[union-attr]
    with pytest.raises(RuntimeFault, match="is used by a container"):
        await store.remove(f"{registry.address}/test/two")


async def test_images_are_found_again_after_a_restart(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    identifier = await store.pull(f"{registry.address}/test/small")
    again = ImageStore(tmp_path / "images")
    assert {image.id for image in again.list()} == {identifier, host.ID}
