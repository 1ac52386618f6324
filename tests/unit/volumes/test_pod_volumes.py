"""What pods find in their volumes."""

import asyncio
import os
import shutil
import stat
from base64 import b64encode
from pathlib import Path
from typing import Any, TypeVar

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.authentication_v1 import TokenRequest, TokenRequestStatus
from kybern.api.core_v1 import (
    ConfigMap,
    ConfigMapProjection,
    ConfigMapVolumeSource,
    Container,
    DownwardAPIVolumeFile,
    DownwardAPIVolumeSource,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PodSecurityContext,
    PodSpec,
    ProjectedVolumeSource,
    Secret,
    SecretProjection,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.volumes.downward import Facts
from kybern.volumes.mounts import NoMounts
from kybern.volumes.objects import Objects, Token
from kybern.volumes.paths import single
from kybern.volumes.payload import VolumeFault
from kybern.volumes.pod_volumes import PodVolumes

T = TypeVar("T")


class FakeClient:
    def __init__(self, *objects: Any) -> None:
        self.objects = {(type(o), o.metadata.namespace, o.metadata.name): o for o in objects}
        self.gets = 0
        self.tokens: list[TokenRequest] = []

    async def get(self, of: type[T], name: str, namespace: str = "") -> T:
        self.gets += 1
        await asyncio.sleep(0)
        if (of, namespace, name) not in self.objects:
            raise NotFound("not found")
        found: T = self.objects[of, namespace, name]
        return found

    async def subresource(self, of: Any, name: str, namespace: str, sub: str, body: TokenRequest, result: Any) -> Any:
        self.tokens.append(body)
        return TokenRequest(
            status=TokenRequestStatus(token=f"token-{len(self.tokens)}", expiration_timestamp="2026-01-01T01:00:00Z")
        )


class SetClock(SystemClock):
    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def config_map(**data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="c", namespace="default"), data=data)


def secret(**data: str) -> Secret:
    encoded = {key: b64encode(text.encode()).decode() for key, text in data.items()}
    return Secret(metadata=ObjectMeta(name="s", namespace="default"), data=encoded)


def pod(*volumes: Volume, **given: Any) -> Pod:
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u", labels={"app": "web"}),
        spec=PodSpec(containers=(Container(name="web"),), volumes=volumes, **given),
    )


class Node:
    def __init__(self, root: Path, *objects: Any) -> None:
        self.client, self.clock = FakeClient(*objects), SetClock()
        self.objects = Objects(self.client, self.clock)  # type: ignore[arg-type]
        self.volumes = PodVolumes(str(root / "pods"), self.objects, NoMounts(), self.clock, Ids(1))

    async def set_up(self, made: Pod) -> None:
        await self.volumes.set_up(made, Facts(), self.objects.now())

    def directory(self, made: Pod, name: str = "v") -> Path:
        return Path(self.volumes.host_path(made, name))


CONFIG = Volume(name="v", config_map=ConfigMapVolumeSource(name="c", default_mode=0o644))


async def test_a_config_map_becomes_files(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1", b="2"))
    await node.set_up(pod(CONFIG))
    assert (node.directory(pod(CONFIG)) / "a").read_text() == "1"
    assert (node.directory(pod(CONFIG)) / "b").read_text() == "2"


async def test_binary_data_is_decoded(tmp_path: Path) -> None:
    binary = ConfigMap(
        metadata=ObjectMeta(name="c", namespace="default"), binary_data={"x": b64encode(b"\x00\xff").decode()}
    )
    node = Node(tmp_path, binary)
    await node.set_up(pod(CONFIG))
    assert (node.directory(pod(CONFIG)) / "x").read_bytes() == b"\x00\xff"


async def test_items_choose_keys_paths_and_modes(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1", b="2"))
    items = (KeyToPath(key="a", path="deep/er/file", mode=0o400),)
    made = pod(Volume(name="v", config_map=ConfigMapVolumeSource(name="c", items=items)))
    await node.set_up(made)
    file = node.directory(made) / "deep" / "er" / "file"
    assert file.read_text() == "1" and stat.S_IMODE(file.stat().st_mode) == 0o400
    assert not (node.directory(made) / "b").exists()


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (
            Volume(name="v", config_map=ConfigMapVolumeSource(name="no")),
            'MountVolume.SetUp failed for volume "v" : configmap "no" not found',
        ),
        (
            Volume(name="v", secret=SecretVolumeSource(secret_name="no")),
            'MountVolume.SetUp failed for volume "v" : secret "no" not found',
        ),
        (
            Volume(name="v", config_map=ConfigMapVolumeSource(name="c", items=(KeyToPath(key="z", path="z"),))),
            'MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: z',
        ),
        (
            Volume(name="v", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="x")),
            'MountVolume.SetUp failed for volume "v" : no volume plugin matched',
        ),
    ],
)
async def test_what_cannot_be_set_up_says_why(tmp_path: Path, volume: Volume, message: str) -> None:
    node = Node(tmp_path, config_map(a="1"))
    with pytest.raises(VolumeFault) as fault:
        await node.set_up(pod(volume))
    assert str(fault.value) == message


@pytest.mark.parametrize("path", ["../../x", "/abs", "..data", "a/../../b", ".."])
async def test_an_item_cannot_be_written_elsewhere(tmp_path: Path, path: str) -> None:
    node = Node(tmp_path, config_map(a="1"))
    items = (KeyToPath(key="a", path=path),)
    with pytest.raises(VolumeFault):
        await node.set_up(pod(Volume(name="v", config_map=ConfigMapVolumeSource(name="c", items=items))))
    assert not any(found.is_file() for found in tmp_path.rglob("*"))


async def test_an_optional_reference_may_be_missing_and_appear_later(tmp_path: Path) -> None:
    node = Node(tmp_path)
    made = pod(Volume(name="v", config_map=ConfigMapVolumeSource(name="c", optional=True)))
    await node.set_up(made)
    assert [p for p in os.listdir(node.directory(made)) if not p.startswith("..")] == []
    node.client.objects[ConfigMap, "default", "c"] = config_map(a="1")
    node.clock.now += 60
    await node.volumes.refresh(made, Facts())
    assert (node.directory(made) / "a").read_text() == "1"


async def test_a_changed_object_changes_the_files(tmp_path: Path) -> None:
    node = Node(tmp_path, secret(a="old"))
    made = pod(Volume(name="v", secret=SecretVolumeSource(secret_name="s")))
    await node.set_up(made)
    node.client.objects[Secret, "default", "s"] = secret(a="new")
    node.clock.now += 60
    await node.volumes.refresh(made, Facts())
    assert (node.directory(made) / "a").read_text() == "new"


async def test_what_did_not_change_is_not_looked_for_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(tmp_path, secret(a="old"))
    made = pod(Volume(name="v", secret=SecretVolumeSource(secret_name="s")))
    await node.set_up(made)
    looks: list[str] = []
    monkeypatch.setattr("kybern.volumes.atomic.write", lambda directory, *_: looks.append(directory))
    for value in ("old", "old", "new", "new"):
        node.client.objects[Secret, "default", "s"] = secret(a=value)
        node.clock.now += 60
        await node.volumes.refresh(made, Facts())
    assert len(looks) == 1


async def test_a_write_that_failed_halfway_is_made_good_though_the_object_is_as_it_was_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, made = Node(tmp_path, config_map(a="old")), pod(CONFIG)
    await node.set_up(made)

    async def refresh(value: str) -> None:
        node.client.objects[ConfigMap, "default", "c"] = config_map(a=value)
        node.clock.now += 60
        await node.volumes.refresh(made, Facts())

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("kybern.volumes.atomic._remove_generations", fail)
        with pytest.raises(VolumeFault, match="No space left"):
            await refresh("new")
    await refresh("old")
    assert (node.directory(made) / "a").read_text() == "old"


async def test_a_volume_that_somebody_emptied_is_filled_again(tmp_path: Path) -> None:
    node, made = Node(tmp_path, config_map(a="1")), pod(CONFIG)
    await node.set_up(made)
    shutil.rmtree(node.directory(made))
    await node.volumes.refresh(made, Facts())
    assert (node.directory(made) / "a").read_text() == "1"


async def test_the_downward_api_follows_the_pod(tmp_path: Path) -> None:
    node = Node(tmp_path)
    items = (DownwardAPIVolumeFile(path="labels", field_ref=ObjectFieldSelector(field_path="metadata.labels")),)
    made = pod(Volume(name="v", downward_api=DownwardAPIVolumeSource(items=items)))
    await node.set_up(made)
    assert (node.directory(made) / "labels").read_text() == 'app="web"'


def projected(*parts: VolumeProjection, mode: int | None = None) -> Volume:
    return Volume(name="v", projected=ProjectedVolumeSource(sources=parts, default_mode=mode))


async def test_a_projected_volume_holds_all_its_sources(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1"), secret(b="2"))
    made = pod(
        projected(
            VolumeProjection(config_map=ConfigMapProjection(name="c")),
            VolumeProjection(secret=SecretProjection(name="s")),
            VolumeProjection(
                service_account_token=ServiceAccountTokenProjection(path="token", expiration_seconds=3607)
            ),
        )
    )
    await node.set_up(made)
    found = {p: (node.directory(made) / p).read_text() for p in ("a", "b", "token")}
    assert found == {"a": "1", "b": "2", "token": "token-1"}
    (request,) = node.client.tokens
    assert request.spec.bound_object_ref is not None and request.spec.bound_object_ref.uid == "u"
    assert request.spec.expiration_seconds == 3607


async def test_a_token_is_renewed_after_four_fifths_of_its_life(tmp_path: Path) -> None:
    node = Node(tmp_path)
    made = pod(projected(VolumeProjection(service_account_token=ServiceAccountTokenProjection(path="token"))))
    await node.set_up(made)
    for later, expected in ((2800, "token-1"), (2890, "token-2")):
        node.clock.now = 1_767_225_600.0 + later
        await node.volumes.refresh(made, Facts())
        assert (node.directory(made) / "token").read_text() == expected


def test_a_token_is_renewed_after_a_day_however_long_it_lives() -> None:
    token = Token("t", 0.0, 365 * 86400.0)
    assert not token.is_due(86399) and token.is_due(86400)


@pytest.mark.parametrize(
    ("context", "mode"),
    [(None, 0o644), (PodSecurityContext(fs_group=0), 0o640), (PodSecurityContext(run_as_user=0), 0o600)],
)
async def test_who_may_read_a_token(tmp_path: Path, context: PodSecurityContext | None, mode: int) -> None:
    node = Node(tmp_path)
    made = pod(
        projected(VolumeProjection(service_account_token=ServiceAccountTokenProjection(path="token"))),
        security_context=context,
    )
    await node.set_up(made)
    assert stat.S_IMODE((node.directory(made) / "token").stat().st_mode) == mode


async def test_an_empty_dir_is_open_to_all_and_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    made = pod(Volume(name="v", empty_dir=EmptyDirVolumeSource()))
    await node.set_up(made)
    assert stat.S_IMODE(node.directory(made).stat().st_mode) == 0o777
    (node.directory(made) / "kept").write_text("x")
    await node.set_up(made)
    assert (node.directory(made) / "kept").read_text() == "x"


@pytest.mark.parametrize(
    "volume",
    [
        Volume(name="v", empty_dir=EmptyDirVolumeSource()),
        Volume(name="v", config_map=ConfigMapVolumeSource(name="c")),
    ],
)
async def test_a_directory_that_was_made_and_not_yet_opened_to_all_is_opened(tmp_path: Path, volume: Volume) -> None:
    node = Node(tmp_path, config_map(a="1"))
    made = pod(volume)
    node.directory(made).mkdir(mode=0o750, parents=True)
    await node.set_up(made)
    assert stat.S_IMODE(node.directory(made).stat().st_mode) == 0o777


async def test_a_mode_that_a_container_gave_to_its_empty_dir_stays(tmp_path: Path) -> None:
    node = Node(tmp_path)
    made = pod(Volume(name="v", empty_dir=EmptyDirVolumeSource()))
    await node.set_up(made)
    node.directory(made).chmod(0o700)
    await node.set_up(made)
    assert stat.S_IMODE(node.directory(made).stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("kind", "exists", "message"),
    [
        ("", None, None),
        ("Directory", "directory", None),
        ("Directory", None, "hostPath type check failed: {} is not a directory"),
        ("Directory", "file", "hostPath type check failed: {} is not a directory"),
        ("DirectoryOrCreate", None, None),
        ("File", "file", None),
        ("File", "directory", "hostPath type check failed: {} is not a file"),
        ("FileOrCreate", None, None),
        ("Socket", "file", "hostPath type check failed: {} is not a socket file"),
        ("CharDevice", "file", "hostPath type check failed: {} is not a character device"),
        ("BlockDevice", None, "hostPath type check failed: {} is not a block device"),
    ],
)
async def test_a_host_path_is_what_it_says(tmp_path: Path, kind: str, exists: str | None, message: str | None) -> None:
    path = tmp_path / "x"
    if exists == "directory":
        path.mkdir()
    elif exists == "file":
        path.write_text("")
    made = pod(Volume(name="v", host_path=HostPathVolumeSource(path=str(path), type=kind)))
    node = Node(tmp_path)
    if message is None:
        await node.set_up(made)
        assert node.volumes.host_path(made, "v") == str(path)
        assert path.exists() or kind == ""
    else:
        with pytest.raises(VolumeFault) as fault:
            await node.set_up(made)
        assert str(fault.value).endswith(message.format(path))


async def test_everything_is_gone_after_tear_down(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1"))
    await node.set_up(pod(CONFIG))
    assert node.volumes.known_pods() == ["u"]
    await node.volumes.tear_down("u")
    assert node.volumes.known_pods() == []


async def test_many_pods_ask_once(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1"))
    moment = node.objects.now()
    found = await asyncio.gather(*(node.objects.get(ConfigMap, "default", "c", moment) for _ in range(50)))
    assert all(found) and node.client.gets == 1


async def test_a_new_pod_does_not_get_an_old_answer(tmp_path: Path) -> None:
    node = Node(tmp_path, config_map(a="1"))
    await node.objects.get(ConfigMap, "default", "c")
    node.clock.now += 1
    await node.objects.get(ConfigMap, "default", "c", node.objects.now())
    assert node.client.gets == 2


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "../x", "/", "a\0", "-x" * 200, ".hidden"])
def test_what_is_no_plain_name_names_no_directory(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a directory"):
        single(name)
