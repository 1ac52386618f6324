"""Where containers cannot run: the control plane with a simulated node, from the same command."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
from conftest import KYBERN, Cluster

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def simulated(make_cluster: Callable[[], Cluster]) -> Iterator[Cluster]:
    made = make_cluster()
    made.kybern("up", "--simulated", "--port", str(made.port), "--node-name", "simulated-1")
    yield made
    made.kybern("reset", check=False)


def test_a_deployment_rolls_out_without_a_container(simulated: Cluster) -> None:
    simulated.kubectl("apply", "-f", "examples/01-web/")
    simulated.kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    assert simulated.kybern("status").returncode == 0


def test_the_kubelet_of_a_simulated_node_is_on_loopback(simulated: Cluster) -> None:
    address = simulated.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    assert address == "127.0.0.1"


def test_nothing_is_sent_to_a_simulated_pod(simulated: Cluster) -> None:
    """Its address is nobody's here, and may be somebody's on the machine's own network."""
    simulated.kubectl("run", "alone", "--image=example.test/any")
    simulated.kubectl("wait", "pod/alone", "--for=condition=Ready", "--timeout=30s")
    refused = subprocess.run(
        ["kubectl", "get", "--raw", "/api/v1/namespaces/default/pods/alone/proxy/"],
        env=simulated.environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
    assert "the pods of a simulated node have no network" in refused.stderr


def test_a_simulated_cluster_stays_one_until_it_is_told_otherwise(simulated: Cluster) -> None:
    simulated.kybern("down")
    simulated.kybern("up")
    address = simulated.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    assert address == "127.0.0.1"
    refused = simulated.kybern("up", "--no-simulated", check=False)
    assert refused.returncode != 0
    assert "the cluster is up with --simulated" in refused.stderr


def test_who_starts_the_same_cluster_at_once_finds_one(make_cluster: Callable[[], Cluster]) -> None:
    made = make_cluster()
    command = [*KYBERN, "up", "--simulated", "--data-dir", str(made.data_dir), "--port", str(made.port)]
    starts = [
        subprocess.Popen(command, env=made.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [start.communicate(timeout=60)[1] for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0], said
    assert sum("is up already" in words for words in said) == 2, said
    made.kybern("reset")


def test_clusters_that_start_at_once_get_ranges_of_their_own(make_cluster: Callable[[], Cluster]) -> None:
    made = [make_cluster() for _ in range(3)]
    starts = [
        subprocess.Popen(
            [*KYBERN, "up", "--simulated", "--data-dir", str(one.data_dir), "--port", str(one.port)],
            env={**one.environment, "KUBECONFIG": str(made[0].kubeconfig)},  # one for all, as users have it
        )
        for one in made
    ]
    assert [start.wait(60) for start in starts] == [0, 0, 0]
    ranges = {json.loads((one.data_dir / "cluster.json").read_text())["index"] for one in made}
    assert len(ranges) == 3
    assert len(made[0].kubectl("config", "get-contexts", "-o", "name").split()) == 3
    for one in made:
        one.kybern("reset")


def test_a_kubeconfig_that_cannot_be_read_is_one_clear_line(make_cluster: Callable[[], Cluster]) -> None:
    made = make_cluster()
    made.kubeconfig.write_text("{")
    for command in (("up", "--simulated", "--port", str(made.port)), ("reset",)):
        done = made.kybern(*command, check=False)
        assert done.returncode == 1
        assert str(made.kubeconfig) in done.stderr and "Traceback" not in done.stderr
    assert not made.data_dir.exists()
