"""Services and names in a whole cluster, asked for by real pods and from the machine."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from conftest import Cluster

pytestmark = pytest.mark.clients

MANIFEST = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web-headless
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: c
        image: kybern.local/host
        command: [sh, -c, "mkdir -p /tmp/w; hostname > /tmp/w/index.html; exec python3 -m http.server -d /tmp/w 8080"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {selector: {app: nobody}, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    name = "services"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("apply", "-n", name, "-f", "-", stdin=MANIFEST)
    cluster.kubectl("rollout", "status", "-n", name, "statefulset/web", "--timeout=60s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def inside(cluster: Cluster, namespace: str, code: str) -> str:
    """What Python prints in the first pod."""
    return cluster.kubectl("exec", "-n", namespace, "web-0", "--", "python3", "-c", code).strip()


def addresses(cluster: Cluster, namespace: str, name: str) -> set[str]:
    code = f"import socket; print(*sorted({{a[4][0] for a in socket.getaddrinfo('{name}', None, socket.AF_INET)}}))"
    return set(inside(cluster, namespace, code).split())


def pod_ips(cluster: Cluster, namespace: str) -> set[str]:
    return set(cluster.kubectl("get", "pods", "-n", namespace, "-o", "jsonpath={.items[*].status.podIP}").split())


@pytest.mark.parametrize("name", ["web", "web.services", "web.services.svc.cluster.local"])
def test_a_service_is_found_by_each_of_its_names(cluster: Cluster, namespace: str, name: str) -> None:
    ip = cluster.kubectl("get", "service", "-n", namespace, "web", "-o", "jsonpath={.spec.clusterIP}")
    assert addresses(cluster, namespace, name) == {ip}


def test_a_headless_service_names_its_pods_together_and_each(cluster: Cluster, namespace: str) -> None:
    assert addresses(cluster, namespace, "web-headless") == pod_ips(cluster, namespace)
    one = addresses(cluster, namespace, "web-1.web-headless.services.svc.cluster.local")
    assert one < pod_ips(cluster, namespace) and len(one) == 1


def test_every_backend_answers_and_a_pod_reaches_itself_too(cluster: Cluster, namespace: str) -> None:
    code = "import urllib.request as u; print(*{u.urlopen('http://web/').read().decode().strip() for _ in range(30)})"
    assert set(inside(cluster, namespace, code).split()) == {"web-0", "web-1"}


def test_a_node_port_answers_on_the_machine(cluster: Cluster, namespace: str) -> None:
    port = cluster.kubectl("get", "service", "-n", namespace, "web", "-o", "jsonpath={.spec.ports[0].nodePort}")
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    with urllib.request.urlopen(f"http://{node}:{port}/", timeout=5) as answer:
        assert answer.read().decode().strip() in ("web-0", "web-1")


def test_a_service_that_nobody_backs_refuses_at_once(cluster: Cluster, namespace: str) -> None:
    ip = cluster.kubectl("get", "service", "-n", namespace, "nobody", "-o", "jsonpath={.spec.clusterIP}")
    began = time.monotonic()
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(f"http://{ip}/", timeout=5)
    assert time.monotonic() - began < 1


def test_the_api_answers_in_a_pod_by_its_service_and_the_mounted_token(cluster: Cluster, namespace: str) -> None:
    code = (
        "import ssl, urllib.request as u; d = '/var/run/secrets/kubernetes.io/serviceaccount/';"
        "t = open(d + 'token').read(); c = ssl.create_default_context(cafile=d + 'ca.crt');"
        "r = u.Request('https://kubernetes.default/version', headers={'Authorization': 'Bearer ' + t});"
        "print(u.urlopen(r, context=c).status)"
    )
    assert inside(cluster, namespace, code) == "200"


def test_a_name_that_does_not_exist_is_said_not_to(cluster: Cluster, namespace: str) -> None:
    code = "import socket\ntry: socket.getaddrinfo('nothing.services.svc.cluster.local', 80)\nexcept socket.gaierror as e: print(e.errno)"
    assert inside(cluster, namespace, code) == "-2"
