"""Images from a registry over HTTP, and from an archive, run in a whole cluster."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cluster
from image_registry import ImageRegistry, image_registry
from oci_images import busybox, docker_archive

pytestmark = pytest.mark.clients

HTTPD = "mkdir -p /tmp/w; echo $VERSION > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"


def web_image(version: str):  # type: ignore[no-untyped-def]
    return busybox({"Cmd": ["sh", "-c", HTTPD], "Env": ["PATH=/bin", f"VERSION={version}"]})


@pytest.fixture(scope="module")
def registry() -> Iterator[ImageRegistry]:
    """Served from a thread with a loop of its own."""
    ready: list[ImageRegistry] = []
    started = threading.Event()
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        async with image_registry() as made:
            for version in ("1", "2"):
                made.add("web", web_image(version), version)
            ready.append(made)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    yield ready[0]
    loop, stop = loops[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def page(cluster: Cluster, pod: str) -> str:
    address = cluster.kubectl("get", "pod", pod, "-o", "jsonpath={.status.podIP}")
    deadline = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}:8080/", timeout=5) as answer:
                return str(answer.read().decode().strip())
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_deployment_rolls_from_one_image_of_a_registry_to_the_next(cluster: Cluster, registry: ImageRegistry) -> None:
    image = f"{registry.address}/web"
    cluster.kubectl("create", "deployment", "pulled", f"--image={image}:1", "--replicas=2")
    cluster.kubectl("rollout", "status", "deploy/pulled", "--timeout=30s")
    assert page(cluster, live(cluster, f"{image}:1")) == "1"
    cluster.kubectl("set", "image", "deploy/pulled", f"web={image}:2")
    cluster.kubectl("rollout", "status", "deploy/pulled", "--timeout=60s")
    assert page(cluster, live(cluster, f"{image}:2")) == "2"
    cluster.kubectl("rollout", "undo", "deploy/pulled")
    cluster.kubectl("rollout", "status", "deploy/pulled", "--timeout=60s")
    assert page(cluster, live(cluster, f"{image}:1")) == "1"
    cluster.kubectl("delete", "deploy/pulled")


def live(cluster: Cluster, image: str) -> str:
    """One of the pods that stay, all of which have this image; those on their way out do not count."""
    pods = json.loads(cluster.kubectl("get", "pods", "-l", "app=pulled", "-o", "json"))["items"]
    staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    assert {pod["spec"]["containers"][0]["image"] for pod in staying} == {image}
    return str(staying[0]["metadata"]["name"])


def test_an_archive_is_loaded_and_runs(cluster: Cluster, tmp_path: Path) -> None:
    archive = tmp_path / "web.tar"
    archive.write_bytes(docker_archive(web_image("archived"), "example.test/web:3"))
    assert cluster.kybern("image", "load", str(archive)).stdout.split() == ["example.test/web:3"]
    assert "example.test/web:3" in cluster.kybern("image", "ls").stdout
    cluster.kubectl("run", "loaded", "--image=example.test/web:3", "--image-pull-policy=Never")
    cluster.kubectl("wait", "pod/loaded", "--for=condition=Ready", "--timeout=20s")
    assert page(cluster, "loaded") == "archived"
    cluster.kubectl("delete", "pod", "loaded", "--grace-period=0", "--force")


def test_an_archive_that_is_none_is_one_clear_line(cluster: Cluster, tmp_path: Path) -> None:
    archive = tmp_path / "nothing.tar"
    archive.write_bytes(b"nothing")
    refused = cluster.kybern("image", "load", str(archive), check=False)
    assert refused.returncode == 1
    assert "nothing.tar" in refused.stderr
    assert "Traceback" not in refused.stderr
