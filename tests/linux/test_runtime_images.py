"""Pulls from a registry that works, breaks off or lies, and images from archives."""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from image_registry import ImageRegistry, image_registry
from oci_images import (
    INDEX,
    MANIFEST,
    BuiltImage,
    archive,
    build,
    busybox,
    digest_of,
    docker_archive,
    entry,
    oci_archive,
)

from kybern.runtime.build.workshop import Workshop
from kybern.runtime.cri import AuthConfig, RuntimeFault
from kybern.runtime.images import host, snapshots
from kybern.runtime.images.layout import ARCHIVE, Incoming, Needed
from kybern.runtime.images.reference import parse
from kybern.runtime.images.registry import Registry, RegistryError
from kybern.runtime.images.store import ImageStore
from kybern.web.http import Request, Response

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
    assert not store.pulling and not store.layout.fetching and not store.layout.arriving, "nothing is kept of a pull"
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


async def test_a_registry_that_asks_for_a_name_and_a_password_gets_them_with_each_request(
    registry: ImageRegistry, store: ImageStore
) -> None:
    wanted = "Basic bWU6c2VjcmV0"

    def answer(request: Request) -> Response:
        if request.headers.get("authorization") != wanted:
            return Response(401, {"WWW-Authenticate": 'Basic realm="test"'})
        if "/manifests/" in request.path:
            return Response(200, {"Content-Type": MANIFEST}, SMALL.manifest)
        return registry.blob(request, SMALL.blobs[request.path.rpartition("/")[2]])

    registry.answer = answer
    name = f"{registry.address}/test/small"
    for auth in (None, AuthConfig(username="me", password="wrong")):
        with pytest.raises(RuntimeFault, match=r"access denied") as refused:
            await store.pull(name, auth)
        assert "wrong" not in refused.value.message
    assert await store.pull(name, AuthConfig(username="me", password="secret"))


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


@pytest.mark.parametrize("way", ["pull", "load"])
async def test_indexes_of_indexes_are_followed_a_few_deep(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path, way: str
) -> None:
    """T55."""
    body, kind, blobs = SMALL.manifest, MANIFEST, dict(SMALL.blobs)
    for depth in range(100):
        digest = digest_of(body)
        registry.manifests[f"test/deep:{digest}"] = registry.manifests[f"test/deep:{depth}"] = (body, kind)
        blobs[digest] = body
        inner = {"mediaType": kind, "digest": digest, "size": len(body)}
        body, kind = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}).encode(), INDEX
    if way == "pull":
        assert await store.pull(f"{registry.address}/test/deep:1")
        with pytest.raises(RuntimeFault, match="nested more than"):
            await store.pull(f"{registry.address}/test/deep:99")
        return
    files = {f"blobs/sha256/{digest.removeprefix('sha256:')}": data for digest, data in blobs.items()}
    path = tmp_path / "image.tar"
    path.write_bytes(archive(entry(name, data) for name, data in {"index.json": body, **files}.items()))
    with pytest.raises(RuntimeFault, match="nested too deep"):
        await store.load(path)


async def test_who_is_sent_elsewhere_for_a_blob_shows_no_password_there(
    registry: ImageRegistry, store: ImageStore
) -> None:
    """T58."""
    registry.login = "me:secret"
    shown: list[str | None] = []

    def elsewhere(request: Request) -> Response:
        shown.append(request.headers.get("authorization"))
        return Response(200, {}, SMALL.blobs[request.path.rpartition("/")[2]])

    async with image_registry() as other:
        other.answer = elsewhere
        registry.blob = lambda request, data: Response(307, {"Location": f"http://{other.address}{request.path}"})  # type: ignore[method-assign]
        await store.pull(f"{registry.address}/test/small", AuthConfig(username="me", password="secret"))
    assert shown == [None] * len(SMALL.blobs)


async def test_a_registry_that_takes_no_notice_of_where_to_go_on_is_begun_with_anew(
    registry: ImageRegistry, store: ImageStore
) -> None:
    """T62: what came before and all of it again would be another blob."""
    registry.add("test/busybox", busybox())
    registry.break_off_after = 300_000
    own = registry.blob
    registry.blob = lambda request, data: own(Request("GET", request.path), data)  # type: ignore[method-assign]
    assert await store.pull(f"{registry.address}/test/busybox")


async def test_an_image_of_no_layers_is_one(registry: ImageRegistry, store: ImageStore) -> None:
    """T56."""
    registry.add("test/empty", build([]))
    assert await store.pull(f"{registry.address}/test/empty")
    found = store.get(f"{registry.address}/test/empty")
    assert found is not None and found.layers == ()


async def test_endless_redirects_and_login_loops_end(store: ImageStore) -> None:
    async with image_registry() as hostile:
        hostile.answer = lambda request: Response(307, {"Location": request.path + "/x"})
        with pytest.raises(RuntimeFault, match="stopped after 10 redirects"):
            await store.pull(f"{hostile.address}/x")
        realm = f'Bearer realm="http://{hostile.address}/again"'
        hostile.answer = lambda request: Response(401, {"WWW-Authenticate": realm})
        with pytest.raises(RuntimeFault, match="failed to fetch token"):
            await store.pull(f"{hostile.address}/x")


@pytest.mark.parametrize("where", ["127.0.0.1", "169.254.169.254", "[::1]", "2130706433", "localhost"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_registry_elsewhere_cannot_send_a_login_to_this_machine(scheme: str, where: str) -> None:
    """T58: the address of a token service, which is asked with the user's password."""
    registry = Registry(parse("registry.example.com/x"), AuthConfig(username="me", password="secret"))
    for realm in (f"{scheme}://{where}/token", f"{scheme}://{where}:8080/token"):
        with pytest.raises(RegistryError, match=r"which is this machine's own|redirects to plain HTTP"):
            await registry._authorize(f'Bearer realm="{realm}",service="s"')
    for realm in ("file:///etc/passwd", "", "/token", "gopher://registry.example.com/token"):
        with pytest.raises(RegistryError, match="no HTTP address"):
            await registry._authorize(f'Bearer realm="{realm}",service="s"')
    assert not registry.clients, "nobody was asked"


async def drip(pieces: int, piece: bytes, seconds: float) -> AsyncIterator[bytes]:
    for _ in range(pieces):
        yield piece
        await asyncio.sleep(seconds)


async def test_a_registry_that_sends_a_byte_now_and_then_is_given_up(
    registry: ImageRegistry, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T62: a manifest, a token and a blob that would come in the end, but not before everybody has forgotten it."""
    monkeypatch.setattr("kybern.runtime.images.registry.FAIR_START_SECONDS", 0.1)
    registry.answer = lambda request: Response(200, {}, drip(200, b"{", 0.02))
    with pytest.raises(RuntimeFault, match="sends too slowly"):
        await store.pull(f"{registry.address}/x")
    registry.answer = None
    blob = next(
        data for digest, data in SMALL.blobs.items() if digest == json.loads(SMALL.manifest)["layers"][0]["digest"]
    )
    own = registry.blob
    registry.blob = lambda request, data: (  # type: ignore[method-assign]
        Response(200, {}, drip(len(blob), b"x", 0.02)) if data == blob else own(request, data)
    )
    with pytest.raises(RuntimeFault, match="sends too slowly"):
        await store.pull(f"{registry.address}/test/small")


async def test_an_answer_without_an_end_is_given_up(registry: ImageRegistry, store: ImageStore) -> None:
    """T62."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1 << 16
            yield bytes(1 << 16)

    registry.answer = lambda request: Response(200, {}, endless())
    with pytest.raises(RuntimeFault, match="answer is longer than"):
        await store.pull(f"{registry.address}/x")
    registry.answer = None
    own = registry.blob
    registry.blob = lambda request, data: Response(200, {}, endless()) if data else own(request, data)  # type: ignore[method-assign]
    with pytest.raises(RuntimeFault, match="is longer than the"):
        await store.pull(f"{registry.address}/test/small")
    assert sent < 64 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "kybern-test", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def incompressible(name: str, sizes: Sequence[int]) -> BuiltImage:
    return build([archive([entry(name, random.Random(number).randbytes(size))]) for number, size in enumerate(sizes)])


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(incompressible("f", [1 << 20, 1 << 20, 16 << 20]), id="its archives"),
        pytest.param(build([archive([entry("f", bytes(16 << 20))])]), id="what is in them"),
    ],
)
@pytest.mark.parametrize("way", ["pull", "load"])
async def test_an_image_that_is_larger_than_the_disk_leaves_it_as_it_was(
    registry: ImageRegistry, small_disk: Path, tmp_path_factory: pytest.TempPathFactory, image: BuiltImage, way: str
) -> None:
    """T63."""
    store = ImageStore(small_disk / "images")
    await store.pull(f"{registry.address}/test/small")
    registry.add("test/large", image)
    packed = tmp_path_factory.mktemp("archives") / "large.tar"
    packed.write_bytes(oci_archive(image, "example.com/large:1"))
    before = os.statvfs(small_disk).f_bfree
    for _ in range(2):
        with pytest.raises(RuntimeFault, match="No space left on device"):
            await (store.pull(f"{registry.address}/test/large") if way == "pull" else store.load(packed))
    assert os.statvfs(small_disk).f_bfree >= before - 4
    fits = incompressible("fits", [1 << 20])
    registry.add("test/fits", fits)
    assert await store.pull(f"{registry.address}/test/fits")


async def test_making_room_leaves_what_is_being_pulled_and_removes_what_broke_off(
    registry: ImageRegistry, store: ImageStore
) -> None:
    pulled, broken = incompressible("pulled", [1000, 2000]), incompressible("broken", [500_000])
    registry.add("test/pulled", pulled)
    registry.add("test/broken", broken)
    registry.break_off_after = 1000
    last = json.loads(pulled.manifest)["layers"][-1]["digest"]
    lowest_is_there, may_go_on = asyncio.Event(), asyncio.Event()
    unpack = store.snapshots.unpack

    async def held_up(blob: Path, compression: str, diff_ids: Sequence[str]) -> None:
        await unpack(blob, compression, diff_ids)
        lowest_is_there.set()
        await may_go_on.wait()

    store.snapshots.unpack = held_up  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        pull = tasks.create_task(store.pull(f"{registry.address}/test/pulled"))
        await lowest_is_there.wait()
        (store.layout.ingest / ("0" * 64)).write_bytes(b"the beginning of what nobody pulls any more")
        await store.prune(everything=True)
        assert store.layout.has(last) and store.snapshots.layers(diff_ids_of(pulled)[:1]) is not None
        assert not list(store.layout.ingest.glob("0*"))
        may_go_on.set()
    assert store.get(pull.result()) is not None


class Held:
    """A store that is making room, and does not go on."""

    def __init__(self, store: ImageStore) -> None:
        self.has_begun, self.may_go_on = threading.Event(), threading.Event()
        store.also_kept = self

    def __call__(self) -> tuple[()]:
        self.has_begun.set()
        self.may_go_on.wait()
        return ()

    @contextlib.asynccontextmanager
    async def by(self, task: asyncio.Task[Any]) -> AsyncIterator[None]:
        await asyncio.to_thread(self.has_begun.wait)
        try:
            yield
        finally:
            self.may_go_on.set()
            await asyncio.wait([task])


async def test_what_is_written_while_room_is_made_stays(store: ImageStore, tmp_path: Path) -> None:
    """A manifest that comes, and a layer that a build has made."""
    held, made = Held(store), tmp_path / "made"
    made.mkdir()
    (made / "file").write_text("of a build")
    async with held.by(asyncio.create_task(store.collect())):
        digest = store.layout.put(b"{}")
        with Needed(store.layout) as needed:
            layer = await Workshop(store).pack(needed, made, (), ())
    assert layer is not None and store.layout.has(digest) and store.layout.has(layer.digest)
    assert store.snapshots.layers([layer.diff_id]) is not None
    await store.collect()
    assert not store.layout.has(digest) and not store.layout.has(layer.digest), "nobody needs them"


async def test_who_goes_away_while_room_is_made_takes_nothing_from_who_comes(store: ImageStore) -> None:
    held = Held(store)
    making = asyncio.create_task(store.collect())
    async with held.by(making):
        making.cancel()
        await asyncio.wait([making])
        assert making.cancelled() and store.making_room.locked(), "the thread goes on"
        digest = store.layout.put(b"{}")
    async with store.making_room:
        assert store.layout.has(digest) and store.layout.arrived is None


async def test_making_room_leaves_the_archive_that_is_being_loaded(store: ImageStore, tmp_path: Path) -> None:
    packed = oci_archive(incompressible("large", [4 << 20]), "example.com/large:1")
    way = tmp_path / "way"
    os.mkfifo(way)
    half_is_read, may_go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def write() -> None:
        with way.open("wb", buffering=0) as out:
            half = len(packed) // 2
            for at in range(0, half, 1 << 16):
                out.write(packed[at : min(at + (1 << 16), half)])
            loop.call_soon_threadsafe(half_is_read.set)
            may_go_on.wait()
            out.write(packed[half:])

    async with asyncio.TaskGroup() as tasks:
        loading = tasks.create_task(store.load(way))
        tasks.create_task(asyncio.to_thread(write))
        await half_is_read.wait()
        assert list(store.layout.ingest.glob(f"{ARCHIVE}*"))
        await store.collect()
        may_go_on.set()
    assert store.get(loading.result()[0]) is not None


@pytest.mark.parametrize("part", ["manifest", "configuration"])
async def test_an_image_that_a_lost_machine_cut_short_is_pulled_anew(
    registry: ImageRegistry, store: ImageStore, part: str
) -> None:
    name = f"{registry.address}/test/small"
    identifier = await store.pull(name)
    store.layout.path(digest_of(SMALL.manifest) if part == "manifest" else identifier).write_bytes(b"")
    store.ready.clear()
    assert store.get(name) is None
    with pytest.raises(RuntimeFault) as failed:
        await store.pull(name)
    assert failed.value.reason == "ErrImagePull"
    assert await store.pull(name) == identifier and store.get(name) is not None


def diff_ids_of(image: BuiltImage) -> list[str]:
    config = json.loads(image.blobs[json.loads(image.manifest)["config"]["digest"]])
    return list(config["rootfs"]["diff_ids"])


async def test_an_image_whose_name_moved_stays_while_a_container_uses_it(
    registry: ImageRegistry, store: ImageStore
) -> None:
    name = f"{registry.address}/test/moving"
    first = build([archive([entry("old", b"1")])])
    registry.add("test/moving", first)
    old = await store.pull(name)
    store.in_use = lambda: [old]
    registry.add("test/moving", build([archive([entry("new", b"2")])]))
    new = await store.pull(name)
    await store.pull(f"{registry.address}/test/small")
    await store.remove(f"{registry.address}/test/small")
    await store.prune(everything=False)
    found = store.get(old)
    assert old != new and found is not None and (Path(found.layers[0]) / "old").exists()
    store.untag(f"{name}@{first.digest}")
    assert store.get(old) is not None
    assert [image.repo_tags for image in store.list() if image.id == old] == [()]
    store.in_use = tuple
    gone, _ = await store.prune(everything=False)
    assert len(gone) == 1 and store.get(old) is None and store.get(name) is not None


async def test_a_layer_that_two_images_bring_at_once_is_unpacked_once(
    registry: ImageRegistry, store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T37: and neither writes into what the other has made."""
    shared = archive([entry(f"base/{number}", b"b" * 5000) for number in range(200)])
    unpacked: list[Sequence[str]] = []
    run = snapshots.run_unpack

    async def counted(blob: Path, compression: str, target: Path, parents: Sequence[str]) -> str:
        assert not list(target.iterdir())
        unpacked.append(parents)
        return await run(blob, compression, target, parents)

    monkeypatch.setattr(snapshots, "run_unpack", counted)
    for number in range(4):
        registry.add(f"test/{number}", build([shared, archive([entry("own", b"%d" % number)])]))
    await asyncio.gather(*(store.pull(f"{registry.address}/test/{number}") for number in range(4)))
    assert [bool(parents) for parents in unpacked].count(False) == 1 and len(unpacked) == 5


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


@pytest.mark.parametrize(
    ("kind", "size", "told"),
    [
        (tarfile.GNUTYPE_LONGNAME, 1 << 33, "a header of more than"),
        (tarfile.XHDTYPE, 1 << 33, "a header of more than"),
        (b"Z", 1 << 35, "ends within an entry"),
        (tarfile.REGTYPE, 1 << 80, "larger than is accepted"),
        (tarfile.GNUTYPE_SPARSE, 1 << 80, "larger than is accepted"),
    ],
)
async def test_an_archive_that_says_it_is_without_end_costs_neither_memory_nor_time_nor_disk(
    store: ImageStore, tmp_path: Path, kind: bytes, size: int, told: str
) -> None:
    info = tarfile.TarInfo("manifest.json")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[483:495] = block[124:136]  # a sparse file's whole length
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "image.tar"
    path.write_bytes(bytes(block) + bytes(10_240))
    with pytest.raises(RuntimeFault, match=told):
        await store.load(path)
    assert not list(store.layout.ingest.iterdir()) and not list(store.layout.blobs.iterdir())


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


@pytest.mark.parametrize("short", [False, True])
async def test_an_image_goes_with_the_last_of_its_names_where_a_user_removes_names(
    registry: ImageRegistry, store: ImageStore, short: bool
) -> None:
    identifier = await store.pull(f"{registry.address}/test/small")
    store.tag(identifier, "mine:1")
    await store.remove_name("mine:1")
    assert store.get(f"{registry.address}/test/small") is not None and store.get("mine:1") is None
    store.tag(identifier, "mine:1")
    await store.remove_name(f"{registry.address}/test/small")
    assert store.get("mine:1") is not None
    store.tag(identifier, "mine:2")
    await store.remove_name(identifier.removeprefix("sha256:") if short else identifier)
    assert store.get("mine:1") is store.get("mine:2") is store.get(identifier) is None


async def test_images_are_found_again_after_a_restart(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    identifier = await store.pull(f"{registry.address}/test/small")
    again = ImageStore(tmp_path / "images")
    assert {image.id for image in again.list()} == {identifier, host.ID}
