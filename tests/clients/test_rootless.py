"""An ordinary user's cluster: started, used and stopped without root, in namespaces of its own, with nothing left behind."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import free_port, until
from oci_images import busybox, docker_archive
from ordinary_users import FIRST_ID, User, obstacle, ordinary_user

pytestmark = pytest.mark.clients

WEB = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  automountServiceAccountToken: false
  containers:
  - name: web
    image: kybern.local/host
    command: [sh, -c, "echo started; mkdir /srv/web; echo hello > /srv/web/index.html; exec python3 -m http.server 8000 -d /srv/web"]
    readinessProbe: {httpGet: {port: 8000}, periodSeconds: 1}
    resources: {limits: {memory: 128Mi, cpu: 500m}}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers:
  - name: main
    image: kybern.local/host
    command: [sleep, "3600"]
    securityContext: {runAsUser: 1000, runAsGroup: 1000, readOnlyRootFilesystem: true}
    volumeMounts: [{name: data, mountPath: /data}]
  securityContext: {fsGroup: 2000}
  volumes: [{name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: site}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8000}]}
"""


@dataclass
class Rootless:
    user: User
    port: int
    said: str
    """By `kybern up`."""


@pytest.fixture(scope="module")
def rootless() -> Iterator[Rootless]:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl; install it with: apt-get install -y kubernetes-client")
    with ordinary_user() as user:
        if why_not := obstacle(user):
            pytest.skip(why_not)
        port = free_port()
        said = user.kybern("up", "--port", str(port), "--node-name", "mine").stderr
        try:
            user.kubectl("apply", "-f", "-", stdin=WEB)
            until(lambda: user.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}") == "True True")  # fmt: skip
            yield Rootless(user, port, said)
        finally:
            user.kybern("reset", check=False)


def test_what_is_missing_is_said_and_status_tells_that_all_is_well(rootless: Rootless) -> None:
    lacking = [line for line in rootless.said.splitlines() if line.startswith("✗")]
    assert all("limits are not enforced" in line or "pasta" in line for line in lacking), rootless.said
    told = json.loads(rootless.user.kybern("status", "-o", "json").stdout)
    assert told["missing"] == "" and {"server", "node", "warden"} <= {one["name"] for one in told["programs"]}
    for program in told["programs"]:
        assert Path(f"/proc/{program['pid']}").stat().st_uid == rootless.user.number, "the machine's own process ids"


def test_pods_run_log_and_take_commands_as_ids_of_the_users_own(rootless: Rootless) -> None:
    user = rootless.user
    assert user.kubectl("logs", "web").startswith("started\n")
    assert user.kubectl("exec", "web", "--", "id", "-u") == "0\n"
    script = "id -u; id -G; touch /data/x && stat -c %u:%g /data/x; touch /x 2>&1 | grep -c Read-only; cat /etc/shadow /root/x"
    assert user.kubectl("exec", "client", "--", "sh", "-c", script, check=False).split() == [
        "1000", "1000", "2000", "1000:2000", "1",
    ]  # fmt: skip
    assert "python3 -m http.server 8000 -d /srv/web " in user.processes()
    of_client = [path for path in Path("/proc").glob("[0-9]*") if cmdline(path) == "sleep 3600 "]
    assert {path.stat().st_uid for path in of_client} == {FIRST_ID + 999}
    assert user.kubectl("exec", "web", "--", "sh", "-c", "ls /proc | grep -c '^[0-9]'") in ("3\n", "4\n", "5\n")


def cmdline(process: Path) -> str:
    try:
        return (process / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_services_names_and_node_ports_lead_to_pods(rootless: Rootless) -> None:
    user = rootless.user
    fetch = "import urllib.request as u; print(u.urlopen('http://{}/', timeout=5).read().decode(), end='')"
    for name in ("site", "site.default.svc.cluster.local"):
        assert user.kubectl("exec", "client", "--", "python3", "-c", fetch.format(name)) == "hello\n"
    number = user.kubectl("get", "service", "site", "-o", "jsonpath={.spec.ports[0].nodePort}")
    assert user.run("curl", "-sf", "-m", "5", f"http://127.0.0.1:{number}/").stdout == "hello\n"
    assert user.kubectl("get", "--raw", "/api/v1/namespaces/default/services/site/proxy/") == "hello\n"


def test_a_port_of_a_pod_is_forwarded(rootless: Rootless) -> None:
    user, port = rootless.user, free_port()
    forwarding = subprocess.Popen(
        user.command("kubectl", "port-forward", "pod/web", f"{port}:8000"),
        env=user.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert forwarding.stdout is not None and "Forwarding" in forwarding.stdout.readline()
        assert user.run("curl", "-sf", "-m", "5", f"http://127.0.0.1:{port}/").stdout == "hello\n"
    finally:
        forwarding.terminate()
        forwarding.communicate()


def test_an_image_is_built_and_run_with_files_of_several_owners(rootless: Rootless, tmp_path: Path) -> None:
    user = rootless.user
    (user.home / "base.tar").write_bytes(docker_archive(busybox(), "example.com/base:1"))
    (user.home / "Dockerfile").write_text(
        "FROM example.com/base:1\nRUN mkdir /d && echo old > /d/old && chown -R 33:44 /d\n"
        "RUN rm -r /d && mkdir /d && echo new > /d/new && chown 55:66 /d/new\nCMD ls /d && stat -c %u:%g /d/new\n"
    )
    user.kybern("image", "load", str(user.home / "base.tar"))
    user.kybern("image", "build", "-t", "owners:1", str(user.home))
    user.kubectl("run", "owners", "--image=owners:1", "--restart=Never")
    until(lambda: user.kubectl("get", "pod", "owners", "-o", "jsonpath={.status.phase}") == "Succeeded")
    assert user.kubectl("logs", "owners").split() == ["new", "55:66"]


def test_a_pod_that_wants_a_user_namespace_says_why_it_has_none(rootless: Rootless) -> None:
    user = rootless.user
    alone = {
        "metadata": {"name": "alone"},
        "spec": {"hostUsers": False, "containers": [{"name": "x", "image": "owners:1"}]},
    }
    user.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "Pod", **alone}))
    until(lambda: "this node is in one itself" in user.kubectl("get", "events", "-o", "jsonpath={.items[*].message}"))
    user.kubectl("delete", "pod", "alone", "--now")


def test_another_node_joins_in_the_same_namespaces(rootless: Rootless) -> None:
    user = rootless.user
    user.kybern("node", "add", "second")
    assert user.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}") == "mine second"
    user.kybern("node", "remove", "second")


def test_what_needs_root_says_so_in_a_line(rootless: Rootless) -> None:
    for words in (("cri", "--socket", "/tmp/x"), ("up", "--advertise-address", "192.0.2.1")):
        refused = rootless.user.kybern(*words, "--data-dir", str(rootless.user.home / "other"), check=False)
        assert refused.returncode == 1 and "root" in refused.stderr and "Traceback" not in refused.stderr


def test_a_killed_gate_ends_everything_and_the_next_start_brings_the_pods_back(rootless: Rootless) -> None:
    user = rootless.user
    (gate,) = [path for path in Path("/proc").glob("[0-9]*") if comm(path) == "kybern-gate" and owner(path) == user.number]  # fmt: skip
    os.kill(int(gate.name), signal.SIGKILL)
    until(lambda: user.processes() == [])
    user.kybern("up")
    until(lambda: "True" in user.kubectl("get", "pod", "web", "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"))  # fmt: skip
    assert int(user.kubectl("get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")) == 1


def owner(process: Path) -> int:
    try:
        return process.stat().st_uid
    except OSError:
        return -1


def comm(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def test_down_and_reset_leave_nothing(rootless: Rootless) -> None:
    """Last: there is no cluster afterwards."""
    user = rootless.user
    user.kybern("down")
    assert user.processes() == []
    assert user.kybern("status", check=False).returncode == 3
    user.kybern("reset")
    assert not (user.home / ".local/share/kybern").exists()
    assert [path.name for path in Path(f"/tmp/kybern-{user.number}").iterdir()] == ["turn"]
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", rootless.port), timeout=1):
        pytest.fail("the API server still listens")
