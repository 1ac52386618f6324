"""An extension's API server as people run one: a pod behind a Service, that believes the front proxy and asks us who may do
what. What upstream's conformance test does with its sample server, done with one of ours."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import Cluster, run, until

from kybern.web.pki import create_ca, issue

pytestmark = pytest.mark.clients
NAMESPACE, GROUP = "wardle", "wardle.example.com"
SERVICE = f"v1alpha1.{GROUP}"
ADMIN = "kubernetes-admin"
"""Who the kubeconfig of `kybern up` is."""
BASE = f"/apis/{GROUP}/v1alpha1"
PROGRAM = """
import json, os, ssl, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOUNT = '/var/run/secrets/kubernetes.io/serviceaccount/'
US = 'https://' + os.environ['KUBERNETES_SERVICE_HOST'] + ':' + os.environ['KUBERNETES_SERVICE_PORT']
BASE = '/apis/wardle.example.com/v1alpha1'
KIND = {'name': 'flunders', 'singularName': 'flunder', 'namespaced': True, 'kind': 'Flunder',
        'verbs': ['create', 'delete', 'get', 'list', 'watch'], 'shortNames': ['fl']}
FLUNDERS = {}

def ask(path, body=None):
    request = urllib.request.Request(US + path, body and json.dumps(body).encode(), {
        'Authorization': 'Bearer ' + open(MOUNT + 'token').read(), 'Content-Type': 'application/json'})
    return json.load(urllib.request.urlopen(request, context=ssl.create_default_context(cafile=MOUNT + 'ca.crt')))

trusted = ask('/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication')['data']
names = json.loads(trusted['requestheader-allowed-names'])

class Server(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def fail(self, code, reason, message):
        self.answer(code, {'kind': 'Status', 'apiVersion': 'v1', 'status': 'Failure', 'code': code, 'reason': reason,
                           'message': message})
        return True

    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code); self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)

    def refused(self, verb, name):
        subject = dict(pair[0] for pair in self.connection.getpeercert().get('subject', ()))
        if names and subject.get('commonName') not in names:
            return self.fail(401, 'Unauthorized', 'no front proxy')
        groups = [line for value in self.headers.get_all('X-Remote-Group') or () for line in value.split(', ')]
        what = {'group': 'wardle.example.com', 'resource': 'flunders', 'verb': verb, 'name': name, 'namespace': 'default'}
        review = ask('/apis/authorization.k8s.io/v1/subjectaccessreviews', {'apiVersion': 'authorization.k8s.io/v1',
            'kind': 'SubjectAccessReview',
            'spec': {'user': self.headers['X-Remote-User'], 'groups': groups, 'resourceAttributes': what}})
        if not review['status']['allowed']:
            return self.fail(403, 'Forbidden', 'the extension says no')

    def do_GET(self):
        path, _, query = self.path.partition('?')
        if path == BASE:
            return self.answer(200, {'kind': 'APIResourceList', 'apiVersion': 'v1', 'groupVersion': BASE[6:],
                                     'resources': [KIND]})
        if path == '/openapi/v2':
            return self.answer(200, {'swagger': '2.0', 'info': {'title': 'wardle', 'version': '0'}, 'paths': {
                BASE + '/flunders': {'get': {'operationId': 'listFlunders', 'responses': {'200': {'description': 'OK'}}}}},
                'definitions': {'com.example.wardle.v1alpha1.Flunder': {'type': 'object'}}})
        name = path.rpartition('/flunders')[2].strip('/')
        if 'flunders' not in path:
            return self.fail(404, 'NotFound', 'no such path')
        if self.refused('get' if name else 'list', name):
            return
        if name:
            found = FLUNDERS.get(name)
            return self.answer(200, found) if found else self.fail(404, 'NotFound', 'flunders "' + name + '" not found')
        self.answer(200, {'kind': 'FlunderList', 'apiVersion': BASE[6:], 'metadata': {}, 'items': list(FLUNDERS.values())})

    def do_POST(self):
        made = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        if not self.refused('create', ''):
            made['metadata'].update(uid=made['metadata']['name'], annotations={'by': self.headers['X-Remote-User']})
            FLUNDERS[made['metadata']['name']] = made
            self.answer(201, made)

    def do_DELETE(self):
        self.rfile.read(int(self.headers['Content-Length'] or 0))
        name = self.path.partition('?')[0].rpartition('/')[2]
        if not self.refused('delete', name):
            self.answer(200, FLUNDERS.pop(name))

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('/certs/tls.crt', '/certs/tls.key')
context.load_verify_locations(cadata=trusted['requestheader-client-ca-file'])
context.verify_mode = ssl.CERT_REQUIRED
server = ThreadingHTTPServer(('', 8443), Server)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bound(role_kind: str, role: str, **meta: str) -> dict[str, Any]:
    api = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{api}/v1", "kind": "RoleBinding" if "namespace" in meta else "ClusterRoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": api, "kind": role_kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACE}],
    }  # fmt: skip


def manifests(ca: bytes, certificate: bytes, key: bytes) -> list[dict[str, Any]]:
    meta = {"name": "sample", "namespace": NAMESPACE}
    container = {
        "name": "sample", "image": "kybern.local/host", "command": ["python3", "-c", PROGRAM],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "volumeMounts": [{"name": "certs", "mountPath": "/certs"}],
    }  # fmt: skip
    registered = {
        "group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "service": {**meta, "port": 7443}, "caBundle": encoded(ca),
    }  # fmt: skip
    flunders = {"apiGroups": [GROUP], "resources": ["flunders"], "verbs": ["*"]}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"tls.crt": encoded(certificate), "tls.key": encoded(key)}},
        bound("Role", "extension-apiserver-authentication-reader", name="wardle-reader", namespace="kube-system"),
        bound("ClusterRole", "system:auth-delegator", name="wardle-delegator"),
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "flunders"}, "rules": [flunders]},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": {"app": "sample"}},
         "spec": {"containers": [container], "volumes": [{"name": "certs", "secret": {"secretName": "sample"}}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta,
         "spec": {"selector": {"app": "sample"}, "ports": [{"port": 7443, "targetPort": 8443}]}},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": SERVICE}, "spec": registered},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def extended(cluster: Cluster) -> Iterator[Cluster]:
    now, name = time.time(), f"sample.{NAMESPACE}.svc"
    ca = create_ca("sample", now)
    pair = issue(ca, name, now=now, dns_names=[name])
    cluster.kubectl("create", "namespace", NAMESPACE)
    found = {"apiVersion": "v1", "kind": "List", "items": manifests(ca.certificate, pair.certificate, pair.key)}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(found))
    cluster.kubectl("wait", f"apiservice/{SERVICE}", "--for=condition=Available", "--timeout=60s")
    yield cluster
    cluster.kubectl("delete", "apiservice", SERVICE)
    cluster.kubectl("delete", "clusterrolebinding,clusterrole", "wardle-delegator", "flunders", "--ignore-not-found")
    cluster.kubectl("-n", "kube-system", "delete", "rolebinding", "wardle-reader")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def said(cluster: Cluster, *words: str) -> str:
    return run(["kubectl", *words], cluster.environment, check=False).stderr


def test_its_kinds_are_found_and_used_like_any_other(extended: Cluster) -> None:
    flunder = {"apiVersion": BASE[6:], "kind": "Flunder", "metadata": {"name": "a", "namespace": "default"}}
    assert "flunder.wardle.example.com/a created" in extended.kubectl(
        "create", "--validate=false", "-f", "-", stdin=json.dumps(flunder)
    )
    assert extended.kubectl("get", "fl", "-o", "name").strip() == "flunder.wardle.example.com/a"
    assert extended.kubectl("get", "flunder", "a", "-o", "jsonpath={.metadata.annotations.by}") == ADMIN
    assert 'flunders "b" not found' in said(extended, "get", "flunder", "b")
    groups = json.loads(extended.kubectl("get", "--raw", "/apis"))["groups"]
    [own] = [group for group in groups if group["name"] == GROUP]
    assert own["preferredVersion"]["version"] == "v1alpha1"
    assert f"{BASE}/flunders" in json.loads(extended.kubectl("get", "--raw", "/openapi/v2"))["paths"]
    assert "deleted" in extended.kubectl("delete", "flunder", "a", "--wait=false")
    assert extended.kubectl("get", "flunders", "-o", "name") == ""


def test_both_servers_ask_what_a_user_may(extended: Cluster) -> None:
    assert "cannot list resource" in said(extended, "get", "flunders", "--as", "jane")
    extended.kubectl("create", "rolebinding", "jane", "--clusterrole=flunders", "--user=jane")
    until(lambda: "cannot list resource" not in said(extended, "get", "flunders", "--as", "jane"))
    assert extended.kubectl("get", "flunders", "--as", "jane", "-o", "jsonpath={.kind}") == "List"
    extended.kubectl("create", "namespace", "elsewhere")
    extended.kubectl("-n", "elsewhere", "create", "rolebinding", "ann", "--clusterrole=flunders", "--user=ann")
    until(
        lambda: "says no" in said(extended, "-n", "elsewhere", "get", "flunders", "--as", "ann")
    )  # it asks of default
    extended.kubectl("delete", "namespace", "elsewhere", "--wait=false")
    extended.kubectl("delete", "rolebinding", "jane")


def test_nobody_but_the_front_proxy_is_believed(extended: Cluster) -> None:
    address = extended.kubectl("-n", NAMESPACE, "get", "service", "sample", "-o", "jsonpath={.spec.clusterIP}")
    url = f"https://{address}:7443{BASE}/namespaces/default/flunders"
    forged = run(["curl", "-sk", "-m", "5", "-H", "X-Remote-User: admin", url], extended.environment, check=False)
    assert (forged.returncode != 0, forged.stdout) == (True, "")


def test_without_its_pod_only_its_own_group_is_unavailable(extended: Cluster) -> None:
    extended.kubectl("-n", NAMESPACE, "delete", "pod", "sample", "--now")
    reason = ("get", "apiservice", SERVICE, "-o", "jsonpath={.status.conditions[0].reason}")
    until(lambda: extended.kubectl(*reason) == "MissingEndpoints")
    refused = run(["kubectl", "get", "--raw", f"{BASE}/flunders"], extended.environment, check=False)
    assert "the server is currently unable to handle the request" in refused.stderr or "unavailable" in refused.stderr
    assert "default" in extended.kubectl("get", "namespaces", "-o", "name")
