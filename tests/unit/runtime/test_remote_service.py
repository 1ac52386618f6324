"""A runtime served as CRI: what is answered, and what is refused by which code. The runtime is a simulated one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.runtime.cri import Image
from kybern.runtime.remote.image_service import ImageCalls, login
from kybern.runtime.remote.messages import IMAGES, RUNTIME, classes, message
from kybern.runtime.remote.peer import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNIMPLEMENTED,
    RpcError,
)
from kybern.runtime.remote.service import CriService
from kybern.runtime.remote.streaming import StreamingServer
from kybern.runtime.simulated import Simulated
from kybern.web.http import Request
from kybern.web.remote_command import Streams

SANDBOX = {"metadata": {"name": "web", "namespace": "default", "uid": "u"}, "labels": {"app": "web"}}


class Client:
    def __init__(self, base: Path) -> None:
        clock = SystemClock()
        self.runtime = Simulated(clock, absent=("registry.test/none",))
        self.streaming = StreamingServer(self.runtime, clock, Ids(1))
        self.streaming.address = "127.0.0.1:1"
        self.service = CriService(self.runtime, self.streaming, ImageCalls(self.runtime, base, clock), clock)

    async def all(self, method: str, service: str = RUNTIME, **fields: Any) -> list[Any]:
        body = message(f"{method}Request", **fields).SerializeToString()
        answer = classes()[f"{method}Response"]
        return [answer.FromString(piece) async for piece in self.service(service + method, body, 5)]

    async def call(self, method: str, service: str = RUNTIME, **fields: Any) -> Any:
        (answer,) = await self.all(method, service, **fields)
        return answer

    async def code(self, method: str, service: str = RUNTIME, **fields: Any) -> int:
        with pytest.raises(RpcError) as refused:
            await self.all(method, service, **fields)
        return refused.value.code

    async def container(self, name: str = "c") -> tuple[str, str]:
        sandbox = (await self.call("RunPodSandbox", config=SANDBOX)).pod_sandbox_id
        image = (await self.call("PullImage", IMAGES, image={"image": "busybox"})).image_ref
        config = {"metadata": {"name": name}, "image": {"image": image}, "labels": {"l": "1"}, "log_path": "c/0.log"}
        made = await self.call("CreateContainer", pod_sandbox_id=sandbox, config=config, sandbox_config=SANDBOX)
        return sandbox, made.container_id


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


async def test_it_says_what_it_is(client: Client) -> None:
    version = await client.call("Version", version="v1")
    assert (version.runtime_name, version.runtime_api_version) == ("kybern-simulated", "v1")
    conditions = {each.type: each.status for each in (await client.call("Status")).status.conditions}
    assert conditions == {"RuntimeReady": True, "NetworkReady": True}
    assert (await client.call("RuntimeConfig")).linux.cgroup_driver == 1


async def test_older_kubelets_are_answered_under_the_name_that_they_ask_by(client: Client) -> None:
    (answer,) = [each async for each in client.service("/runtime.v1alpha2.RuntimeService/Version", b"", 5)]
    assert classes()["VersionResponse"].FromString(answer).runtime_api_version == "v1alpha2"
    for path in ("/runtime.v2.RuntimeService/Version", "Version", "/runtime.v1.RuntimeService/Version/again"):
        with pytest.raises(RpcError) as unknown:
            await anext(client.service(path, b"", 5))
        assert unknown.value.code == UNIMPLEMENTED, path


async def test_every_image_has_a_size_though_it_takes_no_room(client: Client) -> None:
    client.runtime.images["kybern.local/host"] = Image(id="sha256:0", repo_tags=("kybern.local/host",))
    assert (await client.call("ImageStatus", IMAGES, image={"image": "kybern.local/host"})).image.size > 0


async def test_lists_are_filtered_by_id_state_and_labels(client: Client) -> None:
    sandbox, container = await client.container()
    await client.call("StartContainer", container_id=container)
    for fields, count in (
        ({}, 1),
        ({"id": sandbox[:60]}, 1),
        ({"label_selector": {"app": "web"}, "state": {"state": 0}}, 1),
        ({"label_selector": {"app": "other"}}, 0),
        ({"state": {"state": 1}}, 0),
    ):
        assert len((await client.call("ListPodSandbox", filter=fields)).items) == count, fields
    for fields, count in (
        ({"pod_sandbox_id": sandbox, "state": {"state": 1}, "label_selector": {"l": "1"}}, 1),
        ({"state": {"state": 2}}, 0),
        ({"pod_sandbox_id": "f"}, 0),
    ):
        assert len((await client.call("ListContainers", filter=fields)).containers) == count, fields
    (streamed,) = await client.all("StreamContainers")
    assert [each.id for each in streamed.containers] == [container]
    assert await client.all("StreamImages", IMAGES, filter={"image": {"image": "nothing"}}) == []


async def test_an_id_may_be_cut_short_as_long_as_it_says_which(client: Client) -> None:
    _, container = await client.container()
    assert (
        await client.call("ContainerStatus", container_id=container.rstrip("0") or container)
    ).status.id == container
    assert await client.code("ContainerStatus", container_id="") == NOT_FOUND
    await client.call("RunPodSandbox", config={**SANDBOX, "metadata": {**SANDBOX["metadata"], "attempt": 1}})
    assert await client.code("PodSandboxStatus", pod_sandbox_id="0000") == INVALID_ARGUMENT


async def test_refusals_have_their_codes(client: Client) -> None:
    sandbox, container = await client.container()
    assert await client.code("RunPodSandbox", config={}) == INVALID_ARGUMENT
    assert await client.code("RunPodSandbox", config=SANDBOX) == ALREADY_EXISTS
    again = {"metadata": {"name": "c"}, "image": {"image": "busybox"}}
    assert await client.code("CreateContainer", pod_sandbox_id=sandbox, config=again) == ALREADY_EXISTS
    assert await client.code("CreateContainer", pod_sandbox_id="f", config=again) == NOT_FOUND
    assert await client.code("ExecSync", container_id=container, cmd=["true"]) == FAILED_PRECONDITION
    assert await client.code("ContainerStatus", container_id="f") == NOT_FOUND
    await client.call("StartContainer", container_id=container)
    assert await client.code("StartContainer", container_id=container) == FAILED_PRECONDITION
    for flags in ({}, {"stdout": True, "stderr": True, "tty": True}):
        assert await client.code("Exec", container_id=container, cmd=["sh"], **flags) == INVALID_ARGUMENT
    with pytest.raises(RpcError) as unknown:
        await anext(client.service(f"{RUNTIME}CheckpointContainer", b"", 5))
    assert unknown.value.code == UNIMPLEMENTED
    with pytest.raises(RpcError) as damaged:
        await anext(client.service(f"{RUNTIME}Version", b"\xff\xff", 5))
    assert damaged.value.code == INVALID_ARGUMENT
    with pytest.raises(RpcError) as private:
        await anext(client.service(f"{RUNTIME}_container", b"", 5))
    assert private.value.code == UNIMPLEMENTED


async def test_what_cri_does_not_allow_is_refused(client: Client) -> None:
    sandbox, _ = await client.container()
    mount = {"container_path": "/m", "host_path": "/", "recursive_read_only": True}
    for wrong in (
        {"linux": {"security_context": {"run_as_group": {"value": 5}}}},
        {"mounts": [mount]},
        {"mounts": [mount | {"readonly": True, "propagation": 1}]},
    ):
        config = {"metadata": {"name": "wrong"}, "image": {"image": "busybox"}, **wrong}
        assert await client.code("CreateContainer", pod_sandbox_id=sandbox, config=config) == INVALID_ARGUMENT, wrong
    for mode in (1, 3):
        context = {"namespace_options": {"userns_options": {"mode": mode}}}
        wrong = {"metadata": {"name": "users", "uid": "u2"}, "linux": {"security_context": context}}
        assert await client.code("RunPodSandbox", config=wrong) == INVALID_ARGUMENT, mode


async def test_stopping_and_removing_what_is_gone_is_no_fault(client: Client) -> None:
    for _ in range(2):
        for method in ("StopContainer", "RemoveContainer"):
            await client.call(method, container_id="f" * 64)
        for method in ("StopPodSandbox", "RemovePodSandbox"):
            await client.call(method, pod_sandbox_id="f" * 64)
        await client.call("RemoveImage", IMAGES, image={"image": "nothing"})


async def test_events_say_what_happened_to_what(client: Client) -> None:
    events = client.service(f"{RUNTIME}GetContainerEvents", b"", 0)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    _, container = await client.container()
    await client.call("StartContainer", container_id=container)
    found = [await waiting]
    while len(found) < 3:
        found.append(await anext(events))
    told = [classes()["ContainerEventResponse"].FromString(each) for each in found]
    assert [each.container_event_type for each in told] == [1, 1, 1], "told as things are when they are told"
    assert told[1].container_id == container and told[1].pod_sandbox_status.metadata.name == "web"
    await events.aclose()


async def test_an_address_for_streams_is_good_for_once(client: Client) -> None:
    _, container = await client.container()
    await client.call("StartContainer", container_id=container)
    answer = await client.call("Exec", container_id=container, cmd=["sh"], stdout=True)
    assert answer.url.startswith("http://127.0.0.1:1/exec/")
    path = answer.url.removeprefix("http://127.0.0.1:1")
    assert (await client.streaming(Request("GET", path))).status == 400, "no upgrade was asked for"
    assert (await client.streaming(Request("GET", path))).status == 404
    urls = {client.streaming.exec(container, ["sh"], Streams(stdout=True)) for _ in range(1000)}
    assert len(urls) == 1000
    assert await client.code("Exec", container_id=container, cmd=["sh"], stdout=True) == 8


def test_a_login_comes_as_two_words_or_as_docker_keeps_it() -> None:
    assert login(message("AuthConfig", username="me", password="x")).password == "x"
    kept = login(message("AuthConfig", auth="bWU6c2VjcmV0"))
    assert (kept.username, kept.password) == ("me", "secret")
    with pytest.raises(ValueError):
        login(message("AuthConfig", auth="%%%"))
