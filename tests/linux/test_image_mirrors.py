"""Images that come from mirrors of their registry, as `hosts.toml` says, and from registries with certificates of their own."""

import contextlib
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from image_registry import ImageRegistry, image_registry
from oci_images import archive, build, entry

from kybern.runtime.cri import AuthConfig, RuntimeFault
from kybern.runtime.images.hosts import Host, Hosts, hosts_of
from kybern.runtime.images.reference import parse
from kybern.runtime.images.registry import Registry, RegistryError
from kybern.runtime.images.store import ImageStore
from kybern.web.pki import create_ca, issue
from kybern.web.tls import client_context, server_context

pytestmark = pytest.mark.linux

SMALL = build([archive([entry("hello", b"world")])], {"Cmd": ["/hello"]})
NAME = "registry.invalid/test/small"
AUTH = AuthConfig(username="robot", password="secret")


@pytest.fixture
async def registry() -> AsyncIterator[ImageRegistry]:
    async with image_registry() as made:
        made.add("test/small", SMALL)
        yield made


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images", hosts=tmp_path / "certs.d")


def say(tmp_path: Path, text: str, domain: str = "registry.invalid") -> None:
    directory = tmp_path / "certs.d" / domain
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(text)


async def test_a_mirror_is_asked_first_and_told_whose_image_it_is(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    say(tmp_path, f'[host."http://{registry.address}"]')
    await store.pull(NAME)
    assert registry.asked_for == {"ns=registry.invalid"}
    found = store.status(NAME)
    assert found is not None and found.repo_tags == (f"{NAME}:latest",)


async def test_what_no_mirror_has_comes_from_the_server_and_only_there_is_the_password_shown(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    async with image_registry() as mirror:
        registry.login = mirror.login = "robot:secret"
        mirror.add("test/small", SMALL)
        gone = "http://127.0.0.1:1"
        say(
            tmp_path,
            f'server = "http://{registry.address}"\n[host."{gone}"]\n[host."http://{mirror.address}"]\n',
        )
        await store.pull(NAME, AUTH)
        assert len([path for path in registry.requests if "/blobs/" in path]) == 2
        assert not [path for path in mirror.requests if "/blobs/" in path]


async def test_the_registrys_own_failure_counts_where_none_has_it(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    say(tmp_path, f'server = "http://{registry.address}"\n[host."http://127.0.0.1:1"]\n', "_default")
    with pytest.raises(RuntimeFault, match="nothing:latest: not found"):
        await store.pull("registry.invalid/nothing")


async def test_a_mirror_that_may_not_resolve_is_asked_for_digests_alone(
    registry: ImageRegistry, store: ImageStore, tmp_path: Path
) -> None:
    say(tmp_path, f'server = "http://127.0.0.1:1"\n[host."http://{registry.address}"]\ncapabilities = ["pull"]\n')
    with pytest.raises(RuntimeFault):
        await store.pull(NAME)
    assert registry.requests == []
    await store.pull(f"{NAME}@{SMALL.digest}")
    assert registry.requests != []


@pytest.mark.parametrize(
    ("settings", "trusted"), [('ca = "ca.pem"', True), ("skip_verify = true", True), ("", False)], ids=str
)
async def test_a_mirror_has_an_authority_of_its_own_or_is_taken_as_it_is(
    store: ImageStore, tmp_path: Path, settings: str, trusted: bool
) -> None:
    ca = create_ca("of the mirror", time.time())
    pair = issue(ca, "mirror", now=time.time(), ips=["127.0.0.1"])
    async with image_registry(server_context(pair.certificate, pair.key)) as mirror:
        mirror.add("test/small", SMALL)
        say(tmp_path, f'server = "http://127.0.0.1:1"\n[host."https://{mirror.address}"]\n{settings}\n')
        (tmp_path / "certs.d" / "registry.invalid" / "ca.pem").write_bytes(ca.certificate)
        if trusted:
            await store.pull(NAME)
        else:
            with pytest.raises(RuntimeFault):
                await store.pull(NAME)
        assert bool(mirror.requests) is trusted


@pytest.mark.parametrize(
    "text",
    ["server = 1", 'server = "ftp://x"', '[host."https://a/prefix"]', '[host."https://a"]\nheaders = {}', "[host",
     '[host."https://a"]\ncapabilities = ["fly"]', '[host."https://a"]\nca = "not-there"',
     'host = "https://a"', '[host]\n"https://a" = 1', '[host."https://a"]\nskip_verify = "false"'],
)  # fmt: skip
async def test_a_file_that_is_none_is_named_when_something_is_pulled(
    store: ImageStore, tmp_path: Path, text: str
) -> None:
    say(tmp_path, text)
    with pytest.raises(RuntimeFault, match=r"certs.d/registry.invalid/hosts.toml"):
        await store.pull(NAME)


async def test_authorities_are_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[threading.Thread] = []

    def read(**given: Any) -> ssl.SSLContext:
        readers.append(threading.current_thread())
        return client_context(**given)

    monkeypatch.setattr("kybern.runtime.images.registry.client_context", read)
    asked = Registry(parse("registry.invalid/x"), None, Host("https://127.0.0.1:1"))
    with contextlib.closing(asked), pytest.raises(RegistryError):
        await asked.manifest("latest")
    assert len(readers) == 1 and readers[0] is not threading.main_thread()


def test_without_a_file_a_registry_is_asked_by_its_name_and_plainly_only_on_loopback(tmp_path: Path) -> None:
    assert hosts_of(tmp_path, "docker.io") == Hosts(Host("https://registry-1.docker.io"))
    assert hosts_of(None, "registry.example:5000") == Hosts(Host("https://registry.example:5000"))
    assert hosts_of(tmp_path, "localhost:5000") == Hosts(Host("http://localhost:5000"))
    assert Hosts(Host("https://a")).to_pull(parse("a.example/x")) == ()
