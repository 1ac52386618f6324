"""The API server as it is composed: who gets in, who may what, and that nothing answers without being asked who (U01)."""

import json
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.codec import encode, from_builtins
from kybern.api.core_v1 import Node, Pod, ServiceAccount
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.admission.order import admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.auth.keys import keys_from_pem, new_signing_key
from kybern.apiserver.auth.setup import Auth, auth
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.bootstrap.rbac import node_rules
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.documents import Documents
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.http import Request

KEYS = keys_from_pem(new_signing_key())
PUBLIC = {"/healthz", "/livez", "/readyz", "/version", "/version/"}
PATHS = (
    "/", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/api/v1/namespaces", "/api/v1/namespaces/default/secrets",
    "/api/v1/nodes", "/apis/apps/v1/deployments", "/openapi/v2", "/openapi/v3", "/metrics", "/logs", "/debug/pprof",
    "/.well-known/openid-configuration", "/openid/v1/jwks", "/healthz/ping", "/nothing", "/api/v1/nodes/n1/proxy/",
    "//api", "/api/../api", "/%61pi", "/API", "/api;x=1", "/api/v1/namespaces/default/pods/p/exec",
    "/apis/authentication.k8s.io/v1/tokenreviews", *sorted(PUBLIC),
)  # fmt: skip


class World:
    server: ApiServer
    access: Auth
    objects: ClusterObjects


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> World:
    made = World()
    clock, ids = SystemClock(), Ids(1)
    machine = await open_machine(MemoryStore(), RESOURCES, clock, ids)
    made.objects = objects = ClusterObjects(machine)
    made.access = auth(objects=objects, keys=KEYS, clock=clock, ids=ids, node_rules=node_rules())
    inputs = Inputs(
        objects=objects,
        authorizer=made.access.authorizer,
        rbac=made.access.rbac,
        clock=clock,
        ids=ids,
        callouts=Callouts(objects, Random(1), pods_reachable=False),
    )

    async def authenticate(request: Request) -> User:
        """Tests may simply say who they are."""
        name = request.headers.get("test-user")
        groups = (*request.headers.get("test-groups", "").split(), "system:authenticated")
        return User(name, groups) if name else await made.access.authenticate(request)

    made.server = ApiServer(
        machine, authenticate=authenticate, authorizer=made.access.authorizer,
        impersonation=made.access.impersonation, plugins=admission_plugins(inputs), creators=made.access.creators,
        paths=made.access.documents.handlers(), documents=(Documents(machine.resources, lambda: "localhost"),),
    )  # fmt: skip
    await bootstrap(objects)
    await objects.create(ServiceAccount(metadata=ObjectMeta(name="default", namespace="default")))
    for name in ("n1", "n2"):
        await objects.create(Node(metadata=ObjectMeta(name=name)))
        spec = {"nodeName": name, "containers": [{"name": "c", "image": "i"}], "serviceAccountName": "default"}
        await objects.create(
            from_builtins(Pod, {"metadata": {"name": f"on-{name}", "namespace": "default"}, "spec": spec})
        )
    return made


async def ask(world: World, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    if body is not None:
        given["content-type"] = "application/json"
    data = b"" if body is None else encode(body)
    response = await world.server(Request(method, path, headers=given, body=data))
    text = await response.read()
    return response.status, json.loads(text) if text[:1] == b"{" else text


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_without_credentials_only_health_and_version_answer(world: World, method: str, path: str) -> None:
    status, answer = await ask(world, method, path)
    if method == "GET" and path in PUBLIC:
        assert status == 200
    else:
        assert (status, answer["reason"]) == (403, "Forbidden"), (method, path)
        assert 'User "system:anonymous" cannot ' in answer["message"]


@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_credentials_are_told_nothing(world: World) -> None:
    for path in ("/healthz", "/api", "/api/v1/pods"):
        status, answer = await ask(world, "GET", path, authorization="Bearer wrong")
        assert (status, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_service_account_has_no_rights_but_to_look_around(world: World) -> None:
    account = world.objects.get(ServiceAccount, "default", "default")
    assert account is not None
    bearer = "Bearer " + world.access.issuer.issue(account, seconds=600).token
    assert (await ask(world, "GET", "/apis", authorization=bearer))[0] == 200
    assert (await ask(world, "GET", "/openid/v1/jwks", authorization=bearer))[0] == 200
    status, answer = await ask(world, "GET", "/api/v1/namespaces/default/pods", authorization=bearer)
    assert status == 403
    assert answer["message"] == (
        'pods is forbidden: User "system:serviceaccount:default:default" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    assert answer["details"] == {"kind": "pods"}


NODE = {"test_user": "system:node:n1", "test_groups": "system:nodes"}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_node_gets_tokens_for_its_own_pods_only(world: World) -> None:
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    for name, expected in (("on-n1", 201), ("on-n2", 403)):
        pod = world.objects.get(Pod, name, "default")
        assert pod is not None
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod.metadata.uid}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"boundObjectRef": bound}}
        status, answer = await ask(world, "POST", path, body, **NODE)
        assert status == expected, answer
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    status, answer = await ask(world, "POST", path, body, **NODE)
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert "node requested token not bound to a pod" in answer["message"]


@pytest.mark.asyncio(loop_scope="module")
async def test_groups_without_a_user_to_impersonate_are_refused(world: World) -> None:
    status, _ = await ask(world, "GET", "/api", test_user="root", test_groups="system:masters", impersonate_group="x")
    assert status == 400


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_grants_themselves_more(world: World) -> None:
    rule = {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterrolebindings", "clusterroles"],
        "verbs": ["create"],
    }
    root = {"test_user": "root", "test_groups": "system:masters"}
    kinds = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    base = "/apis/rbac.authorization.k8s.io/v1"
    body = {**kinds, "kind": "ClusterRole", "metadata": {"name": "binder"}, "rules": [rule]}
    assert (await ask(world, "POST", f"{base}/clusterroles", body, **root))[0] == 201
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "binder"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]
    body = {
        **kinds,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "eve"},
        "roleRef": reference,
        "subjects": subjects,
    }
    assert (await ask(world, "POST", f"{base}/clusterrolebindings", body, **root))[0] == 201
    body = {**body, "metadata": {"name": "more"}, "roleRef": {**reference, "name": "cluster-admin"}}
    status, answer = await ask(world, "POST", f"{base}/clusterrolebindings", body, test_user="eve")
    assert status == 403 and "attempting to grant RBAC permissions not currently held" in answer["message"]
    body = {**kinds, "kind": "ClusterRole", "metadata": {"name": "all"}, "rules": [{**rule, "verbs": ["*"]}]}
    assert (await ask(world, "POST", f"{base}/clusterroles", body, test_user="eve"))[0] == 403
