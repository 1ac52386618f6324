"""kybern in a container: as far as the container lets it, and saying what it does not."""

import json
import sys
from pathlib import Path

import pytest
from chroots import needs_user_namespaces
from conftest import PROJECT, Cluster, until
from ordinary_users import search_path

pytestmark = pytest.mark.clients

PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
UP = "{python} -m kybern.cmd.main up --data-dir /data/cluster --port 7600 2>&1; kubectl --kubeconfig /data/config get nodes -o name; sleep 3600"


def pod(name: str, **security: object) -> str:
    """As root of a container with Docker's default capabilities, unless it says more."""
    where = {str(PROJECT / "src"), search_path().partition(":")[2]}
    volumes = [{"name": "data", "emptyDir": {}}]
    volumes += [{"name": f"code-{at}", "hostPath": {"path": path}} for at, path in enumerate(sorted(where))]
    mounts = [{"name": "data", "mountPath": "/data"}]
    mounts += [{"name": f"code-{at}", "mountPath": f"/code/{at}", "readOnly": True} for at in range(len(where))]
    main = {
        "name": "main",
        "image": "kybern.local/host",
        "command": ["sh", "-c", UP.format(python=PYTHON)],
        "env": [
            {"name": "PYTHONPATH", "value": ":".join(f"/code/{at}" for at in range(len(where)))},
            {"name": "KUBECONFIG", "value": "/data/config"},
            {"name": "HOME", "value": "/data"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "volumeMounts": mounts,
        "securityContext": security,
    }
    spec = {"containers": [main], "volumes": volumes, "hostUsers": not security, "automountServiceAccountToken": False}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


def told(cluster: Cluster, name: str, word: str) -> str:
    until(lambda: word in cluster.kubectl("logs", name, check=False))
    return cluster.kubectl("logs", name)


@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}")
def test_in_a_default_container_the_control_plane_runs_and_what_lacks_is_named(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=pod("plain"))
    log = told(cluster, "plain", "node/")
    assert "containers need namespaces of their own: user namespace" in log
    assert "--security-opt seccomp=unconfined" in log and "starts with a simulated node" in log
    assert "Traceback" not in log
    cluster.kubectl("delete", "pod", "plain", "--now")


@needs_user_namespaces
@pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"there is no {PYTHON}")
def test_in_a_container_that_may_make_namespaces_containers_run_without_cap_sys_admin(cluster: Cluster) -> None:
    open_ = {"seccompProfile": {"type": "Unconfined"}, "procMount": "Unmasked"}
    cluster.kubectl("apply", "-f", "-", stdin=pod("open", **open_))
    log = told(cluster, "open", "node/")
    assert "the cluster starts with a simulated node" not in log, log
    inner = ("exec", "open", "--", "kubectl", "--kubeconfig", "/data/config")
    cluster.kubectl(*inner, "run", "inner", "--image=kybern.local/host", "--restart=Never", "--", "echo", "deep")
    until(lambda: cluster.kubectl(*inner, "logs", "inner", check=False) == "deep\n")
    assert "CapEff:\t00000000a80425fb" in cluster.kubectl("exec", "open", "--", "cat", "/proc/self/status")
    cluster.kubectl("delete", "pod", "open", "--now")
