"""Where containers cannot run: the control plane with a simulated node, from the same command."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from conftest import Cluster

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
