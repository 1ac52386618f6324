"""Reviews and token requests answer as requests themselves would be answered."""

from dataclasses import dataclass
from typing import Any

import pytest

from kybern.aio.clock import rfc3339
from kybern.aio.ids import Ids
from kybern.api.authentication_v1 import SelfSubjectReview, TokenRequest, TokenReview
from kybern.api.authorization_v1 import (
    LocalSubjectAccessReview,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
    SubjectAccessReview,
)
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Node, Pod, ServiceAccount
from kybern.api.errors import ApiError, BadRequest, Conflict, Invalid, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.rbac_v1 import ClusterRole, Role, RoleBinding
from kybern.apiserver.auth.keys import keys_from_pem, new_signing_key
from kybern.apiserver.auth.setup import Auth, auth
from kybern.apiserver.auth.tokens import payload_of
from kybern.apiserver.bootstrap.rbac import node_rules
from kybern.apiserver.request import ApiRequest, Attributes, User
from kybern.testing.memory_objects import MemoryObjects
from kybern.web.http import Request

KEYS = keys_from_pem(new_signing_key())
JANE = User("jane", ("system:authenticated",))
NOW = 1_800_000_000.0


@dataclass
class StandingClock:
    def wall(self) -> float:
        return NOW

    def monotonic(self) -> float:
        return NOW

    async def sleep(self, seconds: float) -> None:
        return


def made(kind: type[Any], body: dict[str, Any]) -> Any:
    return from_builtins(kind, body)


READER = made(
    Role,
    {
        "metadata": {"name": "r", "namespace": "x"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
)
BOUND = made(
    RoleBinding,
    {
        "metadata": {"name": "b", "namespace": "x"}, "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "jane"}],
    },
)  # fmt: skip


class World:
    def __init__(self) -> None:
        self.objects = MemoryObjects(READER, BOUND)
        self.account = self.objects.put(ServiceAccount(metadata=ObjectMeta(name="robot", namespace="x")))
        self.auth: Auth = auth(
            objects=self.objects, keys=KEYS, clock=StandingClock(), ids=Ids(1), node_rules=node_rules()
        )

    async def ask(self, address: str, body: Any, **attributes: str) -> Any:
        given = Attributes(user=JANE, verb="create", **attributes)
        request = ApiRequest(http=Request("POST", "/"), user=JANE, attributes=given, params={})
        return await self.auth.creators[address](body, request)


PODS = {"verb": "get", "resource": "pods", "namespace": "x"}


async def test_an_access_review_answers_for_another_and_for_oneself() -> None:
    world = World()
    body = made(SubjectAccessReview, {"spec": {"user": "jane", "resourceAttributes": PODS}})
    answer = await world.ask("subjectaccessreviews.authorization.k8s.io", body)
    assert answer.status.allowed
    assert answer.status.reason == 'RBAC: allowed by RoleBinding "b/x" of Role "r" to User "jane"'
    body = made(SelfSubjectAccessReview, {"spec": {"resourceAttributes": {**PODS, "verb": "delete"}}})
    answer = await world.ask("selfsubjectaccessreviews.authorization.k8s.io", body)
    assert not answer.status.allowed and answer.status.denied is None
    body = made(SelfSubjectAccessReview, {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}})
    assert not (await world.ask("selfsubjectaccessreviews.authorization.k8s.io", body)).status.allowed


async def test_a_local_review_stays_in_its_namespace() -> None:
    world = World()
    body = made(LocalSubjectAccessReview, {"spec": {"user": "jane", "resourceAttributes": PODS}})
    address = "localsubjectaccessreviews.authorization.k8s.io"
    assert (await world.ask(address, body, namespace="x")).status.allowed
    with pytest.raises(Invalid, match=r"must match metadata\.namespace: y"):
        await world.ask(address, body, namespace="y")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"user": "jane"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (
            {"user": "jane", "resourceAttributes": PODS, "nonResourceAttributes": {}},
            "cannot be specified in combination with resourceAttributes",
        ),
        ({"resourceAttributes": PODS}, "at least one of user or group must be specified"),
    ],
)
async def test_a_review_that_asks_nothing_clear_is_refused(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(Invalid, match=text):
        await World().ask("subjectaccessreviews.authorization.k8s.io", made(SubjectAccessReview, {"spec": spec}))


async def test_a_rules_review_lists_what_one_may() -> None:
    body = made(SelfSubjectRulesReview, {"spec": {"namespace": "x"}})
    answer = await World().ask("selfsubjectrulesreviews.authorization.k8s.io", body)
    assert [(rule.verbs, rule.resources) for rule in answer.status.resource_rules] == [(("get",), ("pods",))]
    assert not answer.status.incomplete
    with pytest.raises(BadRequest, match="no namespace on request"):
        await World().ask("selfsubjectrulesreviews.authorization.k8s.io", SelfSubjectRulesReview())


async def test_who_am_i() -> None:
    answer = await World().ask("selfsubjectreviews.authentication.k8s.io", SelfSubjectReview())
    assert answer.status.user_info.username == "jane"
    assert answer.metadata.creation_timestamp == rfc3339(NOW)


async def token(world: World, **spec: Any) -> Any:
    body = made(TokenRequest, {"spec": spec})
    return await world.ask("serviceaccounts/token", body, namespace="x", name="robot")


async def test_a_token_is_reviewed_for_the_audience_asked() -> None:
    world = World()
    issued = (await token(world, audiences=["vault"])).status.token
    address = "tokenreviews.authentication.k8s.io"
    for audiences, expected in ((["vault"], True), (["other"], False), ([], False)):
        answer = await world.ask(address, made(TokenReview, {"spec": {"token": issued, "audiences": audiences}}))
        assert bool(answer.status.authenticated) is expected
        assert (answer.status.error is None) is expected
    answer = await world.ask(address, made(TokenReview, {"spec": {"token": (await token(world)).status.token}}))
    assert answer.status.user.username == "system:serviceaccount:x:robot"
    assert answer.status.user.groups[-1] == "system:authenticated"
    with pytest.raises(BadRequest):
        await world.ask(address, TokenReview())


async def test_a_token_request_is_answered_with_a_bound_token() -> None:
    world = World()
    world.objects.put(Node(metadata=ObjectMeta(name="n1", uid="node-1")))
    pod = world.objects.put(
        made(
            Pod,
            {"metadata": {"name": "p", "namespace": "x"}, "spec": {"serviceAccountName": "robot", "nodeName": "n1"}},
        )
    )
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod.metadata.uid}
    answer = await token(world, boundObjectRef=bound, expirationSeconds=3607)
    claims = payload_of(answer.status.token)
    assert claims["kubernetes.io"] == {
        "namespace": "x", "pod": {"name": "p", "uid": pod.metadata.uid}, "node": {"name": "n1", "uid": "node-1"},
        "serviceaccount": {"name": "robot", "uid": world.account.metadata.uid},
    }  # fmt: skip
    assert answer.status.expiration_timestamp == rfc3339(NOW + 3607)
    assert answer.spec.audiences == ("https://kubernetes.default.svc.cluster.local",)
    with pytest.raises(Conflict, match="does not match the UID in record"):
        await token(world, boundObjectRef={**bound, "uid": "other"})


async def test_a_token_is_never_bound_to_another_account_s_pod() -> None:
    world = World()
    spec = {"serviceAccountName": "admin"}
    world.objects.put(made(Pod, {"metadata": {"name": "p", "namespace": "x"}, "spec": spec}))
    with pytest.raises(BadRequest, match="different serviceaccount"):
        await token(world, boundObjectRef={"apiVersion": "v1", "kind": "Pod", "name": "p"})


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"expirationSeconds": 599}, Invalid), ({"expirationSeconds": 2**33}, Invalid),
        ({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "none"}}, NotFound),
        ({"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}, BadRequest),
    ],
)  # fmt: skip
async def test_a_token_request_that_cannot_be_honoured_is_refused(spec: dict[str, Any], error: type[ApiError]) -> None:
    with pytest.raises(error):
        await token(World(), **spec)


async def test_a_token_of_an_account_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match='serviceaccounts "nobody" not found'):
        await World().ask("serviceaccounts/token", TokenRequest(), namespace="x", name="nobody")


async def test_a_token_may_ask_as_who_it_is_for() -> None:
    world = World()
    issued = (await token(world)).status.token
    headers = {"authorization": f"Bearer {issued}"}
    user = await world.auth.authenticate(Request("GET", "/api", headers=headers))
    assert user.name == "system:serviceaccount:x:robot"
    assert not world.auth.authorizer.decide(Attributes(user=user, **PODS)).allowed
    world.objects.put(made(ClusterRole, {"metadata": {"name": "unbound"}, "rules": []}))


async def test_the_issuer_s_documents_name_its_keys() -> None:
    documents = World().auth.documents
    request = ApiRequest(http=Request("GET", "/"), attributes=Attributes(user=JANE, verb="get"), params={})
    answers = {path: await handler(request) for path, handler in documents.handlers().items()}
    discovery = await answers["/.well-known/openid-configuration"].read()
    assert b'"jwks_uri":"https://kubernetes.default.svc.cluster.local/openid/v1/jwks"' in discovery
    keys = await answers["/openid/v1/jwks"].read()
    assert KEYS.signing_id.encode() in keys and b'"d"' not in keys
