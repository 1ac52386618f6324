"""Simulated nodes and pods live as settings and annotations say, in virtual time."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import convert

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod
from kybern.testing.cluster import running
from kybern.testing.lives import PodRule, Settings, WrongSettings, life_of, read_settings
from kybern.testing.nodes import addresses_from
from kybern.testing.virtual import run


def pod(name: str = "p", image: str = "web:1", annotations: dict[str, str] | None = None, **meta: Any) -> Pod:
    metadata = {"name": name, "namespace": "default", "uid": name, "annotations": annotations or {}, **meta}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": image}]}})


RULES = convert(
    [
        {"match": {"image": "*/trainer:*"}, "startsSeconds": [2, 4], "runsSeconds": 60, "exitCode": 3},
        {"match": {"labels": {"app": "flaky"}}, "runsSeconds": 5, "fails": 0.25},
        {"match": {"namespace": "default", "annotations": {"slow": "yes"}}, "readySeconds": 9, "stopsSeconds": 7},
    ],
    tuple[PodRule, ...],
)


def test_the_first_rule_that_fits_says_how_a_pod_lives_and_annotations_say_more() -> None:
    trains = life_of(pod(image="registry.example/trainer:2"), RULES)
    assert 2 <= trains.starts <= 4 and (trains.runs, trains.exit_code) == (60, 3)
    slow = life_of(pod(annotations={"slow": "yes", "simulated/runs-seconds": "3"}), RULES)
    assert (slow.ready, slow.stops, slow.runs) == (9, 7, 3)
    assert life_of(pod(annotations={"simulated/ready": "never"}), RULES).ready is None
    assert life_of(pod(annotations={"simulated/runs-seconds": "soon", "simulated/exit-code": "nan?"}), ()).runs is None


def test_chance_is_the_pod_s_uid_so_a_life_is_the_same_whenever_it_is_asked_for() -> None:
    lives = [life_of(pod(f"p{number}", labels={"app": "flaky"}), RULES) for number in range(400)]
    assert lives == [life_of(pod(f"p{number}", labels={"app": "flaky"}), RULES) for number in range(400)]
    assert 60 < sum(life.exit_code for life in lives) < 140


def test_settings_come_from_a_file_and_what_is_wrong_with_it_is_said(tmp_path: Path) -> None:
    file = tmp_path / "nodes.yaml"
    file.write_text("nodes:\n- {name: gpu, count: 2, capacity: {nvidia.com/gpu: '8'}}\npods:\n- {runsSeconds: 1}\n")
    settings = read_settings(str(file), 3)
    assert [name for group in settings.nodes for name in group.names] == ["gpu-0", "gpu-1", "sim-0", "sim-1", "sim-2"]
    for wrong in ("pods: [{runs: 1}]", "nodes: [{name: sim}]", "nodes: {", "pods: [{fails: 2}]", "- 1"):
        file.write_text(wrong)
        with pytest.raises(WrongSettings, match=r"nodes\.yaml"):
            read_settings(str(file), 1)
    with pytest.raises(WrongSettings):
        read_settings(str(tmp_path / "nowhere"), 1)


def test_addresses_are_those_of_hosts() -> None:
    from ipaddress import IPv4Address
    from itertools import islice

    found = list(islice(addresses_from(IPv4Address("100.64.0.254")), 3))
    assert found == ["100.64.0.254", "100.64.1.1", "100.64.1.2"]


def test_groups_of_nodes_with_fake_devices_run_pods_by_their_rules() -> None:
    settings = convert(
        {
            "nodes": [
                {
                    "name": "gpu",
                    "count": 2,
                    "labels": {"kind": "gpu"},
                    "capacity": {"nvidia.com/gpu": "8"},
                    "taints": [{"key": "gpu", "effect": "NoSchedule"}],
                }
            ],
            "pods": [{"match": {"image": "job:*"}, "startsSeconds": 1, "readySeconds": 2, "runsSeconds": 10}],
        },
        Settings,
    )

    async def main() -> None:
        async with running(nodes=(), settings=settings) as cluster:
            await cluster.settle()
            found = {node.metadata.name: node for node in await cluster.client.list(Node)}
            assert set(found) == {"gpu-0", "gpu-1"}
            gpu = found["gpu-0"]
            assert (gpu.status.allocatable or {})["nvidia.com/gpu"] == "8"
            assert (gpu.metadata.labels or {})["kind"] == "gpu" and "gpu" in {t.key for t in gpu.spec.taints or ()}

            await cluster.client.create(placed("job", "job:1"))
            await cluster.advance(0.5)
            assert await seen(cluster, "job") == ("Pending", "")
            await cluster.advance(1)
            assert await seen(cluster, "job") == ("Running", "False")
            await cluster.advance(2)
            assert await seen(cluster, "job") == ("Running", "True")
            await cluster.advance(8)
            assert await seen(cluster, "job") == ("Succeeded", "False")

    run(main())


def test_what_others_add_to_a_node_s_capacity_stays_after_its_next_report() -> None:
    async def main() -> None:
        async with running(nodes=("n1",), loops=()) as cluster:
            await cluster.advance(1)
            patch = {"status": {"capacity": {"example.com/dongle": "4"}}}
            await cluster.client.patch(Node, "n1", "", patch, how="strategic", subresource="status")
            await cluster.advance(400)
            node = await cluster.client.get(Node, "n1")
            assert (node.status.allocatable or {})["example.com/dongle"] == "4"

    run(main())


def placed(name: str, image: str) -> Pod:
    spec = {"nodeName": "gpu-0", "containers": [{"name": "c", "image": image}], "restartPolicy": "Never"}
    return from_builtins(Pod, {"metadata": {"name": name, "namespace": "default"}, "spec": spec})


async def seen(cluster: Any, name: str) -> tuple[str, str]:
    pod = await cluster.client.get(Pod, name, "default")
    ready = next((c.status for c in pod.status.conditions or () if c.type == "Ready"), "")
    return pod.status.phase, ready
