"""Static pods: from files to pods, and the mirrors that show them in the API."""

from pathlib import Path
from typing import Any

import pytest

from kybern.kubelet.manifests import MIRROR, read_manifests, static_pod

PLAIN = b"""
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: web, image: "web:1"}]}
"""
PATH = "/api/v1/namespaces/default/pods/web-n1"


def test_a_file_is_a_pod_of_this_node_named_after_both(tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_bytes(PLAIN)
    (tmp_path / ".web.yaml.swp").write_bytes(b"\0")
    (tmp_path / "broken.yaml").write_bytes(b"kind: [")
    found = read_manifests(str(tmp_path), "n1")
    (pod,) = found.pods.values()
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.node_name) == ("web-n1", "default", "n1")
    assert pod.spec.restart_policy == "Always" and pod.status.qos_class == "BestEffort"
    assert list(found.faults) == [str(tmp_path / "broken.yaml")]


def test_another_file_is_another_pod() -> None:
    uids = {
        static_pod(content, path, node).metadata.uid
        for content, path, node in (
            (PLAIN, "a", "n1"),
            (PLAIN + b"\n", "a", "n1"),
            (PLAIN, "b", "n1"),
            (PLAIN, "a", "n2"),
        )
    }
    assert len(uids) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        b"kind: Service",
        PLAIN.replace(b"containers", b"serviceAccountName: a, containers"),
        PLAIN.replace(b"containers", b"volumes: [{name: v, secret: {secretName: s}}], containers"),
        PLAIN.replace(b"image:", b"envFrom: [{configMapRef: {name: c}}], image:"),
        PLAIN.replace(b"name: web, image", b"name: UPPER, image"),
    ],
)
def test_what_is_no_pod_or_needs_the_api_is_refused(wrong: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        static_pod(wrong, "f", "n1")


def test_of_two_files_that_name_one_pod_the_first_runs_and_the_other_waits_for_its_place(
    lab: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        manifests = tmp_path / "manifests"
        manifests.mkdir()
        for name in ("a.yaml", "b.yaml"):
            (manifests / name).write_bytes(PLAIN)
        first, second = read_manifests(str(manifests), "n1").pods
        async with lab.cluster(simulated=False, data_directory=str(tmp_path), logs_directory=str(tmp_path)) as cluster:
            await cluster.until(lambda: pods(cluster) == {first})
            await cluster.kubelet.clock.sleep(5)
            await cluster.kubelet.parts.recorder.flush()
            text = (
                f'Error validating pod web-n1_default({second}) from file due to duplicate pod name "web-n1", ignoring'
            )
            told = [event for event in cluster.api.events() if event[0] == "FailedValidation"]
            assert (told, pods(cluster)) == ([("FailedValidation", text)], {first})
            (manifests / "a.yaml").unlink()
            await cluster.until(lambda: pods(cluster) == {second})

    def pods(cluster: Any) -> set[str]:
        return {sandbox.config.metadata.uid for sandbox in cluster.runtime.sandboxes.values()}

    lab.simulate(scenario)


def test_a_static_pod_runs_while_the_api_is_down_and_is_mirrored_when_it_is_back(lab: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        manifests = tmp_path / "manifests"
        manifests.mkdir()
        (manifests / "web.yaml").write_bytes(PLAIN)
        async with lab.cluster(simulated=False, data_directory=str(tmp_path), logs_directory=str(tmp_path)) as cluster:
            cluster.api.down = True
            (manifests / "web.yaml").write_bytes(PLAIN + b"# changed\n")
            await cluster.until(lambda: running(cluster) and changed(cluster, manifests))
            cluster.api.down = False
            await cluster.until(lambda: mirrored(cluster))
            (mirror,) = [cluster.api.pod("web-n1")]
            assert mirror.metadata.owner_references[0].kind == "Node" and mirror.metadata.labels == {"app": "web"}

            cluster.api.remove(PATH)
            await cluster.until(lambda: mirrored(cluster))
            assert len(cluster.runtime.containers) == 1, "deleting a mirror deletes nothing"

            (manifests / "web.yaml").unlink()
            await cluster.until(lambda: not cluster.api.has_pod("web-n1") and not cluster.runtime.containers)

    def running(cluster: Any) -> bool:
        return any(c.state.value == "running" for c in cluster.runtime.containers.values())

    def changed(cluster: Any, manifests: Path) -> bool:
        (uid,) = read_manifests(str(manifests), "n1").pods
        return [worker.uid for worker in cluster.kubelet.workers.values()] == [uid]

    def mirrored(cluster: Any) -> bool:
        if not cluster.api.has_pod("web-n1"):
            return False
        found = cluster.api.pod("web-n1")
        uids = set(cluster.kubelet.workers)
        return found.status.phase == "Running" and {(found.metadata.annotations or {}).get(MIRROR)} == uids

    lab.simulate(scenario)
