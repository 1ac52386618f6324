"""Two plugins that ask before a pod runs or changes: another server about its images, its node's status about features."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml
from plugins import Clock, asked, plugin

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.api.errors import Forbidden
from kybern.apiserver.admission.image_policy import FAILED_OPEN
from kybern.cmd.admission_config import configuration
from kybern.cmd.server_options import ServerOptions

IMAGES, FEATURES = "ImagePolicyWebhook", "NodeDeclaredFeatureValidator"


class Server:
    """Allows what is of `good.example`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.broken = False

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        review = json.loads(await reader.readexactly(length))
        self.asked.append(review["spec"])
        allowed = all(one["image"].startswith("good.example/") for one in review["spec"]["containers"])
        status = {"allowed": allowed, "auditAnnotations": {"ticket": "7"}} | ({} if allowed else {"reason": "unsigned"})
        body = b"oops" if self.broken else json.dumps({**review, "status": status}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server()
    listening = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    (tmp_path / "kubeconfig").write_text(
        f"{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}],"
        f" clusters: [{{name: k, cluster: {{server: 'http://127.0.0.1:{port}/images'}}}}], users: [{{name: u, user: {{}}}}]}}"
    )
    async with listening:
        yield found


def told(tmp_path: Path, **policy: Any) -> dict[str, Any]:
    policy = {"kubeConfigFile": "kubeconfig", "retryBackoff": 1, **policy}
    plugins = [{"name": IMAGES, "configuration": {"imagePolicy": policy}}]
    (tmp_path / "admission.yaml").write_text(yaml.safe_dump({"plugins": plugins}))
    options = ServerOptions(admission_control_config_file=str(tmp_path / "admission.yaml"))
    return dict(configuration(options))


def pod(*images: str, annotations: dict[str, str] | None = None, **spec: Any) -> Pod:
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    return from_builtins(
        Pod, {"metadata": {"name": "p", "annotations": annotations or {}}, "spec": {"containers": containers, **spec}}
    )


async def test_a_pod_runs_only_images_that_the_other_server_allows(server: Server, tmp_path: Path) -> None:
    policy = plugin(IMAGES, configuration=told(tmp_path))
    marked = {"mine.image-policy.k8s.io/ticket": "7", "other": "x"}
    await policy.validate(asked(pod("good.example/a", annotations=marked)))
    [spec] = server.asked
    assert spec == {
        "containers": [{"image": "good.example/a"}], "annotations": {"mine.image-policy.k8s.io/ticket": "7"}, "namespace": "x",
    }  # fmt: skip
    for bad in (
        pod("evil.example/a"),
        pod("good.example/a", initContainers=[{"name": "i", "image": "evil.example/b"}]),
    ):
        with pytest.raises(Forbidden, match="image policy webhook backend denied one or more images: unsigned"):
            await policy.validate(asked(bad))


@pytest.mark.parametrize("image", ["good.example/a", "evil.example/a"])
async def test_the_audit_log_tells_what_the_other_server_says_for_it(
    server: Server, tmp_path: Path, image: str
) -> None:
    policy = plugin(IMAGES, configuration=told(tmp_path))
    for _ in ("asked", "remembered"):
        admission = asked(pod(image))
        with nullcontext() if image.startswith("good") else pytest.raises(Forbidden):
            await policy.validate(admission)
        assert admission.audit == {"imagepolicywebhook.image-policy.k8s.io/ticket": "7"}


async def test_of_an_ephemeral_container_only_its_own_image_is_asked_about(server: Server, tmp_path: Path) -> None:
    policy = plugin(IMAGES, configuration=told(tmp_path))
    old = pod("evil.example/a")
    new = pod("evil.example/a", ephemeralContainers=[{"name": "e", "image": "good.example/b"}])
    await policy.validate(asked(new, old, sub="ephemeralcontainers"))
    await policy.validate(asked(new, old, sub="status"))
    assert [spec["containers"] for spec in server.asked] == [[{"image": "good.example/b"}]]


async def test_an_answer_is_remembered_for_as_long_as_is_configured(server: Server, tmp_path: Path) -> None:
    clock = Clock()
    policy = plugin(IMAGES, clock=clock, configuration=told(tmp_path, allowTTL=10, denyTTL=-1))
    for _ in range(2):
        await policy.validate(asked(pod("good.example/a")))
    assert len(server.asked) == 1
    clock.now = 11
    await policy.validate(asked(pod("good.example/a")))
    assert len(server.asked) == 2
    for _ in range(2):
        with pytest.raises(Forbidden):
            await policy.validate(asked(pod("evil.example/a")))
    assert len(server.asked) == 4


@pytest.mark.parametrize("open", [False, True])
async def test_without_an_answer_it_is_tried_again_and_then_as_configured(
    server: Server, tmp_path: Path, open: bool
) -> None:
    server.broken = True
    policy = plugin(IMAGES, configuration=told(tmp_path, defaultAllow=open))
    admission = asked(pod("good.example/a"))
    if open:
        await policy.validate(admission)
    else:
        with pytest.raises(Forbidden):
            await policy.validate(admission)
    assert len(server.asked) == 5
    assert (FAILED_OPEN in admission.audit) is open


def test_what_makes_no_sense_is_told(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("{}")
    with pytest.raises(ValueError, match="--admission-control-config-file names it"):
        configuration(ServerOptions(enable_admission_plugins=IMAGES))
    with pytest.raises(ValueError, match="needs a configuration"):
        plugin(IMAGES)


async def test_the_times_of_upstream_hold(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="between 1s and 1800s, got allow cache 1801s"):
        told(tmp_path, allowTTL=1801)
    policy = told(tmp_path, retryBackoff=0)[IMAGES]
    assert (policy.allowed_seconds, policy.refused_seconds, policy.backoff_seconds) == (300, 30, 0.5)


# --- features of nodes ------------------------------------------------------------------------------------------------


def node(*features: str) -> Node:
    return from_builtins(Node, {"metadata": {"name": "n"}, "status": {"declaredFeatures": list(features)}})


def running(cpu: str = "1", qos: str = "Guaranteed", **spec: Any) -> Pod:
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]
    return from_builtins(
        Pod,
        {
            "metadata": {"name": "p"},
            "spec": {"nodeName": "n", "containers": containers, **spec},
            "status": {"qosClass": qos},
        },
    )


async def test_a_change_that_the_node_has_not_declared_to_understand_is_refused() -> None:
    changes = [
        ("GuaranteedQoSPodCPUResize", running("2"), running("1")),
        ("InPlacePodLevelResourcesVerticalScaling", running(resources={"requests": {"cpu": "2"}}), running()),
    ]
    for name, new, old in changes:
        why = f'pod update requires features {name} which are not available on node "n"'
        with pytest.raises(Forbidden, match=why):
            await plugin(FEATURES, node("Other")).validate(asked(new, old, sub="resize"))
        await plugin(FEATURES, node(name)).validate(asked(new, old, sub="resize"))
        with pytest.raises(Forbidden, match='node "n" not found'):
            await plugin(FEATURES).validate(asked(new, old, sub="resize"))


async def test_other_changes_need_nothing_of_the_node() -> None:
    bare = plugin(FEATURES, node())
    await bare.validate(asked(running("2", qos="Burstable"), running("1", qos="Burstable"), sub="resize"))
    await bare.validate(asked(running("1", priority=7), running("1")))
    await bare.validate(asked(running("2")))
    await bare.validate(asked(running("2"), running("1"), sub="status"))
