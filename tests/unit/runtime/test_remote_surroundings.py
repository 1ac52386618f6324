"""What lies around a runtime of somebody else's: its plugin, our images for it, and what is kept for it."""

import asyncio
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.runtime.cri import ContainerConfig, ContainerMetadata, PodSandboxConfig, RuntimeFault, SandboxMetadata
from kybern.runtime.images.mirror import MirrorEndpoint, basic
from kybern.runtime.images.reference import parse
from kybern.runtime.images.sources import Source, mirrored
from kybern.runtime.images.store import ImageStore
from kybern.runtime.remote import cni, host_image
from kybern.runtime.remote.known import KnownSandboxes
from kybern.runtime.remote.local_images import LocalImages
from kybern.web.http import Request
from kybern.web.server import serve

POD = PodSandboxConfig(metadata=SandboxMetadata(name="web", namespace="default", uid="u"))


class Network:
    def __init__(self) -> None:
        self.trouble = ""

    def fault(self) -> str:
        return self.trouble

    async def attach(self, sandbox_id: str, netns_path: str, config: PodSandboxConfig) -> tuple[str, ...]:
        if self.trouble:
            raise OSError(self.trouble)
        return ("10.244.0.7", "fd00::7")

    async def detach(self, sandbox_id: str, netns_path: str) -> None:
        return


async def called(where: cni.Places, name: str, command: str, args: str) -> tuple[int, dict[str, object]]:
    """The plugin as a runtime runs it."""
    configuration = json.loads((where.conf_dir / f"00-{name}.conflist").read_text())
    given = {**configuration["plugins"][0], "cniVersion": configuration["cniVersion"], "name": configuration["name"]}
    variables = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/n",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": args,
    }
    process = await asyncio.create_subprocess_exec(
        str(where.bin_dir / name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables
    )
    output, _ = await process.communicate(json.dumps(given).encode())
    return process.returncode or 0, json.loads(output)


async def test_the_plugin_prints_what_the_agent_says(tmp_path: Path) -> None:
    network, where = Network(), cni.Places(tmp_path / "net.d", tmp_path / "bin")
    path = tmp_path / ("deep" * 30) / "cni.sock"  # longer than a socket's path may be
    pods = {("default", "web"): POD}
    cni.install(where, "kybern-x", path)
    args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
    code, told = await called(where, "kybern-x", "ADD", args)
    assert (code, told["code"]) == (1, 11), "no agent: try again later"
    async with cni.answering(path, network, lambda namespace, name: pods.get((namespace, name))):
        assert oct(path.stat().st_mode & 0o777) == "0o600"
        code, told = await called(where, "kybern-x", "ADD", args)
        assert (code, told["cniVersion"], told["interfaces"]) == (0, "1.0.0", [{"name": "eth0", "sandbox": "/n"}])
        assert told["ips"] == [
            {"interface": 0, "address": "10.244.0.7/32"},
            {"interface": 0, "address": "fd00::7/128"},
        ]
        assert (await called(where, "kybern-x", "DEL", args))[0] == 0
        code, told = await called(where, "kybern-x", "ADD", args.replace("web", "other"))
        assert (code, told["msg"]) == (1, "pod default/other is none of this node")
        network.trouble = "no addresses are left"
        code, told = await called(where, "kybern-x", "ADD", args)
        assert (code, told["msg"]) == (1, "no addresses are left")


def test_what_is_installed_is_taken_away_and_others_stay(tmp_path: Path) -> None:
    where = cni.Places(tmp_path / "net.d", tmp_path / "bin")
    cni.install(where, "kybern-x", tmp_path / "sock")
    assert cni.others(where, "kybern-x") == []
    assert sorted(os.listdir(where.bin_dir)) == ["kybern-x", "loopback"]
    (where.conf_dir / "10-flannel.conflist").write_text("{}")
    (where.bin_dir / "loopback").write_text("somebody's own")
    assert cni.others(where, "kybern-x") == [where.conf_dir / "10-flannel.conflist"]
    cni.uninstall(where, "kybern-x")
    assert (os.listdir(where.conf_dir), os.listdir(where.bin_dir)) == (["10-flannel.conflist"], ["loopback"])


def test_a_runtime_says_where_it_looks_for_plugins_or_it_is_the_usual_place() -> None:
    told = json.dumps({"cni": {"binDir": "/usr/lib/cni", "confDir": "/x"}})
    assert cni.places({"config": told}) == cni.Places(Path("/x"), Path("/usr/lib/cni"))
    usual = cni.Places(Path("/etc/cni/net.d"), Path("/opt/cni/bin"))
    assert [cni.places(info) for info in ({}, {"config": "["}, {"config": "[]"})] == [usual] * 3


def test_a_sandbox_is_known_again_after_a_restart_until_it_is_gone(tmp_path: Path) -> None:
    known = KnownSandboxes(tmp_path)
    known.add(POD)
    again = KnownSandboxes(tmp_path)
    again.load()
    assert (again.get(POD.metadata), again.of_pod("default", "web")) == (POD, POD)
    again.keep_only(())
    assert (again.of_pod("default", "web"), os.listdir(tmp_path)) == (None, [])


def test_the_machines_image_is_directories_with_what_is_private_covered(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("usr/bin", "etc/secret", "home/me", "var/tmp"):
        (root / name).mkdir(parents=True)
    (root / "etc" / "secret").chmod(0o700)
    (root / "etc" / "shadow").touch(0o600)
    (root / "bin").symlink_to("usr/bin")
    (root / "var" / "tmp").chmod(0o1777)
    with tarfile.open(fileobj=io.BytesIO(host_image.skeleton(str(root)))) as layer:
        found = {each.name: each for each in layer}
    assert sorted(found) == ["bin", "etc", "home", "usr", "var", "var/tmp"]
    assert (found["bin"].linkname, oct(found["var/tmp"].mode)) == ("usr/bin", "0o1777")
    mounts = {mount.container_path: mount.host_path for mount in host_image.mounts_of(str(root), tmp_path / "nothing")}
    assert mounts == {
        f"{root}/etc": f"{root}/etc",
        f"{root}/usr": f"{root}/usr",
        f"{root}/etc/secret": str(tmp_path / "nothing"),
        f"{root}/etc/shadow": "/dev/null",
    }


async def test_our_images_are_pulled_by_digest_by_who_knows_the_password(tmp_path: Path) -> None:
    images = ImageStore(tmp_path / "images")
    local = LocalImages(images, tmp_path / "cri", SystemClock(), Ids())
    assert local.reference("kybern.local/host") is None, "not served yet"
    local.open("127.0.0.1:5005")
    reference = local.reference("kybern.local/host:latest") or ""
    assert reference.startswith("127.0.0.1:5005/kybern.local/host-directories@sha256:")
    assert local.reference("docker.io/library/nginx") is None
    path = reference.removeprefix("127.0.0.1:5005/").replace("@", "/manifests/")
    denied = await local.endpoint(Request("GET", f"/v2/{path}"))
    headers = {"authorization": basic(local.endpoint.password)}
    manifest = await local.endpoint(Request("GET", f"/v2/{path}", headers=headers))
    pushed = await local.endpoint(Request("PUT", f"/v2/{path}", headers=headers, body=b"{}"))
    assert (denied.status, manifest.status, pushed.status) == (401, 200, 405)
    assert isinstance(manifest.body, bytes)
    config = ContainerConfig(metadata=ContainerMetadata(name="c"), image=json.loads(manifest.body)["config"]["digest"])
    assert "/usr" in {mount.container_path for mount in local.with_machine(config).mounts}
    assert local.with_machine(ContainerConfig(metadata=config.metadata, image="sha256:other")).mounts == ()


async def test_another_node_pulls_from_the_mirror_what_its_source_is_for(tmp_path: Path) -> None:
    clock, ids = SystemClock(), Ids()
    first = ImageStore(tmp_path / "first")
    first.layout.tag("localhost:5000/app:1", host_image.put_image(first.layout))
    mirror = MirrorEndpoint(first, clock, ids)
    mirror.password = "secret"
    listener = await serve(mirror)
    try:
        passwords = ["wrong", "secret"]
        source = Source(frozenset({"localhost:5000"}), f"127.0.0.1:{listener.port}", lambda: passwords.pop(0))
        second = ImageStore(tmp_path / "second", source=source)
        with pytest.raises(RuntimeFault, match="access denied"):
            await second.pull("localhost:5000/app:1")
        pulled = await second.pull("localhost:5000/app:1")
        found = second.status("localhost:5000/app:1")
        assert found is not None and (found.id, found.repo_tags) == (pulled, ("localhost:5000/app:1",))
    finally:
        await listener.close()


async def test_a_mirror_serves_images_of_every_registry(tmp_path: Path) -> None:
    images = ImageStore(tmp_path)
    manifest = host_image.put_image(images.layout)
    images.layout.tag("localhost:5000/app:1", manifest)
    mirror = MirrorEndpoint(images, SystemClock(), Ids())
    assert mirrored(parse("localhost:5000/app:1")) == "localhost__5000/app"
    answer = await mirror(Request("GET", "/v2/localhost__5000/app/manifests/1"))
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (200, manifest.digest)
    assert (await mirror(Request("GET", "/v2/localhost__5000/other/manifests/1"))).status == 404
