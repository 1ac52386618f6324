"""The example driver of dynamic resource allocation, end to end: published, scheduled, made ready, given back."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Cluster, until

pytestmark = pytest.mark.clients

EXAMPLE = "examples/09-dynamic-resources"


def test_pods_get_the_device_that_a_claim_describes_and_one_of_those_that_a_name_stands_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    specifications = Path("/var/run/cdi")
    command = [sys.executable, f"{EXAMPLE}/fake_driver.py", "--node", "node-1", "--count", "2"]
    plugins = ["--plugins", str(cluster.data_dir / "plugins")]
    with subprocess.Popen([*command, *plugins], env=cluster.environment, cwd=PROJECT, stdout=subprocess.PIPE) as driver:
        try:
            assert driver.stdout is not None and driver.stdout.readline() == b"gpu.example.com is registered\n"
            cluster.kubectl("apply", "-f", f"{EXAMPLE}/claim.yaml")
            until(lambda: cluster.succeeded("dynamic-gpu"))
            assert cluster.kubectl("logs", "dynamic-gpu").split() == ["FAKE_GPU_1=yes", "/dev/fake-gpu-1"]
            until(lambda: cluster.succeeded("named-gpu"))
            assert cluster.kubectl("logs", "named-gpu").split() == ["FAKE_GPU_0=yes", "/dev/fake-gpu-0"]
            cluster.kubectl("delete", "-f", f"{EXAMPLE}/claim.yaml", "--now")
            until(lambda: not cluster.kubectl("get", "resourceclaims", "-o", "name"), 20)
            until(lambda: not list(specifications.glob("gpu.example.com-*")), 20)
        finally:
            driver.send_signal(signal.SIGTERM)
            assert driver.wait(20) == 0
    assert "gpu.example.com" not in cluster.kubectl("get", "resourceslices", "-o", "name")
