"""A RuntimeClass names the program that runs a pod's containers; the example with gVisor, and one that is not there."""

import os
import shutil

import pytest
from conftest import Cluster, until

pytestmark = pytest.mark.clients


@pytest.mark.skipif(
    shutil.which("runsc") is None, reason="there is no runsc; install it with: apt-get install -y runsc"
)
def test_the_example_runs_on_another_kernel(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "examples/08-runtimes/")
    until(lambda: cluster.succeeded("sandboxed"))
    assert cluster.kubectl("logs", "sandboxed").strip() not in ("", os.uname().release)
    cluster.kubectl("delete", "-f", "examples/08-runtimes/", "--now")


def test_a_handler_that_the_node_does_not_have_is_told_on_the_pod(cluster: Cluster) -> None:
    overrides = '{"spec":{"runtimeClassName":"kata"}}'
    runtime_class = '{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"kata"},"handler":"kata"}'
    cluster.kubectl("apply", "-f", "-", stdin=runtime_class)
    cluster.kubectl("run", "odd", "--image=kybern.local/host", f"--overrides={overrides}", "--", "true")
    told = 'no runtime for "kata" is configured'
    found = cluster.kubectl("wait", "pod/odd", "--for=condition=Ready", "--timeout=3s", check=False)
    assert not found and told in cluster.kubectl("describe", "pod", "odd")
    cluster.kubectl("delete", "pod", "odd", "--now")
    cluster.kubectl("delete", "runtimeclass", "kata")
