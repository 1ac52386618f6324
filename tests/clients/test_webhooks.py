"""An admission webhook as people run one: a pod with a certificate from a Secret, behind a Service."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Cluster, run, until

from kybern.web.pki import create_ca, issue

pytestmark = pytest.mark.clients
NAMESPACE = "hooks"
NAME = f"hook.{NAMESPACE}.svc"
PROGRAM = """
import base64, json, ssl
from http.server import BaseHTTPRequestHandler, HTTPServer

class Hook(BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        request = review['request']
        response = {'uid': request['uid'], 'allowed': True, 'warnings': ['seen by ' + self.path]}
        if self.path.startswith('/mutate'):
            patch = [{'op': 'add', 'path': '/data/added', 'value': 'by-webhook'}]
            response.update(patchType='JSONPatch', patch=base64.b64encode(json.dumps(patch).encode()).decode())
        if self.path.startswith('/validate') and 'bad' in (request.get('object') or {}).get('data', {}):
            response.update(allowed=False, status={'message': 'the config map holds something bad'})
        if self.path.startswith('/attach'):
            response.update(allowed=False, status={'message': "attaching to pod 'to-be-attached-pod' is not allowed"})
        body = json.dumps({'apiVersion': review['apiVersion'], 'kind': 'AdmissionReview', 'response': response}).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/certs/tls.crt', '/certs/tls.key')
server = HTTPServer(('', 8443), Hook)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def manifests(ca: bytes, certificate: bytes, key: bytes) -> list[dict[str, Any]]:
    meta = {"name": "hook", "namespace": NAMESPACE}
    probe = {"tcpSocket": {"port": 8443}, "periodSeconds": 1}
    container = {
        "name": "hook", "image": "kybern.local/host", "command": ["python3", "-c", PROGRAM], "readinessProbe": probe,
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }  # fmt: skip
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}

    def hook(path: str, rule: dict[str, Any]) -> dict[str, Any]:
        service = {**meta, "path": f"/{path}", "port": 8443}
        selector = {"matchLabels": {"webhooks": "yes"}}
        return {
            "name": f"{path}.example.com", "rules": [rule], "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": service, "caBundle": encoded(ca)}, "namespaceSelector": selector,
        }  # fmt: skip

    def configuration(kind: str, *hooks: dict[str, Any]) -> dict[str, Any]:
        name = {"name": "hook"}
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": name,
            "webhooks": list(hooks),
        }

    attach = {**rule, "operations": ["CONNECT"], "resources": ["pods/attach"]}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"tls.crt": encoded(certificate), "tls.key": encoded(key)}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": {"app": "hook"}},
         "spec": {"containers": [container], "volumes": [{"name": "certs", "secret": {"secretName": "hook"}}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta,
         "spec": {"selector": {"app": "hook"}, "ports": [{"port": 8443}]}},
        configuration("MutatingWebhookConfiguration", hook("mutate", rule)),
        configuration("ValidatingWebhookConfiguration", hook("validate", rule), hook("attach", attach)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def hooked(cluster: Cluster) -> Iterator[Cluster]:
    now = time.time()
    ca = create_ca("hooks", now)
    pair = issue(ca, NAME, now=now, dns_names=[NAME])
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("create", "namespace", "guarded")
    cluster.kubectl("label", "namespace", "guarded", "webhooks=yes")
    found = {"apiVersion": "v1", "kind": "List", "items": manifests(ca.certificate, pair.certificate, pair.key)}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(found))
    cluster.kubectl("-n", NAMESPACE, "wait", "pod/hook", "--for=condition=Ready", "--timeout=60s")
    until(
        lambda: (
            cluster.kubectl("-n", NAMESPACE, "get", "endpoints", "hook", "-o", "jsonpath={.subsets[0].ports[0].port}")
            == "8443"
        )
    )
    yield cluster
    cluster.kubectl("delete", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "hook")
    cluster.kubectl("delete", "namespace", NAMESPACE, "guarded", "--wait=false")


def test_a_pod_behind_a_service_changes_what_is_written(hooked: Cluster) -> None:
    hooked.kubectl("-n", "guarded", "create", "configmap", "a", "--from-literal=k=v")
    assert hooked.kubectl("-n", "guarded", "get", "configmap", "a", "-o", "jsonpath={.data.added}") == "by-webhook"
    hooked.kubectl("create", "configmap", "free", "--from-literal=bad=1")
    assert hooked.kubectl("get", "configmap", "free", "-o", "jsonpath={.data.added}") == ""


def test_a_pod_behind_a_service_refuses_in_its_own_words(hooked: Cluster) -> None:
    command = ["kubectl", "-n", "guarded", "create", "configmap", "b", "--from-literal=bad=1"]
    refused = run(command, hooked.environment, check=False)
    assert refused.returncode != 0
    assert (
        'admission webhook "validate.example.com" denied the request: the config map holds something bad'
        in refused.stderr
    )


def test_attaching_is_denied_where_kubectl_shows_it(hooked: Cluster) -> None:
    hooked.kubectl("-n", "guarded", "run", "to-be-attached-pod", "--image=kybern.local/host", "--", "sleep", "1000")
    hooked.kubectl("-n", "guarded", "wait", "pod/to-be-attached-pod", "--for=condition=Ready", "--timeout=60s")
    command = ["kubectl", "-n", "guarded", "attach", "to-be-attached-pod", "-i"]
    refused = run(command, hooked.environment, check=False, stdin="")
    assert refused.returncode != 0
    assert "attaching to pod 'to-be-attached-pod' is not allowed" in refused.stderr


POLICIES = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few-replicas}
spec:
  failurePolicy: Fail
  paramKind: {apiVersion: v1, kind: ConfigMap}
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [deployments]}]
  variables: [{name: most, expression: "int(params.data.most)"}]
  validations:
  - expression: "object.spec.replicas <= variables.most"
    messageExpression: "'at most ' + string(variables.most) + ' replicas here, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few-replicas}
spec:
  policyName: few-replicas
  validationActions: [Deny]
  paramRef: {name: limits, namespace: default, parameterNotFoundAction: Deny}
  matchResources: {namespaceSelector: {matchLabels: {policies: "yes"}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: limits, namespace: default}
data: {most: "3"}
---
apiVersion: v1
kind: Namespace
metadata: {name: judged, labels: {policies: "yes"}}
"""


def test_a_policy_is_put_into_force_and_checked_with_kubectl(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=POLICIES)
    create = ["kubectl", "-n", "judged", "create", "deployment", "web", "--image=kybern.local/host"]
    refused = run([*create, "--replicas=4"], cluster.environment, check=False)
    assert "denied request: at most 3 replicas here, not 4" in refused.stderr
    cluster.kubectl("-n", "judged", "create", "deployment", "web", "--image=kybern.local/host", "--replicas=1")
    scale = ["kubectl", "-n", "judged", "patch", "deployment", "web", "-p", '{"spec":{"replicas":9}}']
    assert "not 9" in run(scale, cluster.environment, check=False).stderr
    wrong = {"spec": {"validations": [{"expression": "object.replicas < 3"}]}}
    cluster.kubectl("patch", "validatingadmissionpolicy", "few-replicas", "--type=merge", "-p", json.dumps(wrong))
    at = "jsonpath={.status.typeChecking.expressionWarnings[0].warning}"
    read = ("get", "validatingadmissionpolicy", "few-replicas", "-o", at)
    until(lambda: "undefined field 'replicas'" in cluster.kubectl(*read))
    cluster.kubectl("delete", "-f", "-", stdin=POLICIES)


def test_a_webhook_whose_pod_is_gone_is_told_by_its_service(hooked: Cluster) -> None:
    hooked.kubectl("-n", NAMESPACE, "delete", "pod", "hook", "--now")
    until(lambda: "subsets" not in hooked.get("-n", NAMESPACE, "endpoints", "hook"))
    command = ["kubectl", "-n", "guarded", "create", "configmap", "c"]
    refused = run(command, hooked.environment, check=False)
    assert 'no endpoints available for service "hook"' in refused.stderr
