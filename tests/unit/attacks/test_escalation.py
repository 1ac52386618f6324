"""Attempts to get more than one has (R01-R26): each fails, and succeeds once the defence against it is taken away.

Eve may write roles, bindings and ConfigMaps in the namespace `shop`, make pods there, and approve nothing.
"""

import base64
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from secured_api import SecuredApi, secured_api
from valid_objects import pem_texts

from kybern.api.errors import Forbidden
from kybern.apiserver.auth.denial import forbidden_request
from kybern.apiserver.auth.rbac import Rbac
from kybern.apiserver.layers import understand
from kybern.apiserver.request import Attributes, User
from kybern.apiserver.verbs.watching import wishes_of

RBAC = "/apis/rbac.authorization.k8s.io/v1"
SHOP, CORE = f"{RBAC}/namespaces/shop", "/api/v1/namespaces/shop"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/shop/leases"
EVE = {"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}
WRITE = ["get", "list", "watch", "create", "update", "patch"]
OWN_RULES = [
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"], "verbs": WRITE},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": WRITE},
    {"apiGroups": [""], "resources": ["pods"], "verbs": [*WRITE, "delete"]},
    {"apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["services"], "resourceNames": ["mine"], "verbs": ["get", "list"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"]},
]
CLUSTER_RULES = [
    {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create", "get"]},
    {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/approval"],
        "verbs": ["update", "patch"],
    },
    {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests/status"],
        "verbs": ["update", "patch"],
    },
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": ["create"]},
]
SECRETS = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]}]
ADMIN = {"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}

CERTIFICATE = base64.b64encode(pem_texts()["CERTIFICATE"].replace("\\n", "\n").encode()).decode()


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **more}


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return named(name, spec={"containers": [{"name": "c", "image": "i"}], "serviceAccountName": "plain", **spec})


def request_for(organization: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [
        x509.NameAttribute(NameOID.COMMON_NAME, "eve"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
    ]
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    return base64.b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode()


def csr(name: str, organization: str = "dev") -> dict[str, Any]:
    spec = {
        "signerName": "kubernetes.io/kube-apiserver-client",
        "request": request_for(organization),
        "usages": ["client auth"],
    }
    return named(name, spec=spec)


async def prepare(api: SecuredApi) -> None:
    restricted = {f"pod-security.kubernetes.io/{mode}": "baseline" for mode in ("enforce",)}
    await api.made("/api/v1/namespaces", {"metadata": {"name": "shop", "labels": restricted}})
    for name, annotations in (
        ("plain", {}),
        ("strong", {}),
        ("held", {"kubernetes.io/enforce-mountable-secrets": "true"}),
    ):
        account = {"metadata": {"name": name, "annotations": annotations}, "automountServiceAccountToken": False}
        await api.made(f"{CORE}/serviceaccounts", account)
    await api.made(f"{SHOP}/roles", named("own", rules=OWN_RULES))
    await api.made(f"{SHOP}/roles", named("weak", rules=OWN_RULES[1:2]))
    reference = {"kind": "Role", "name": "own", "apiGroup": "rbac.authorization.k8s.io"}
    await api.made(f"{SHOP}/rolebindings", named("eve", roleRef=reference, subjects=[EVE]))
    await api.made(f"{RBAC}/clusterroles", named("eves", rules=CLUSTER_RULES))
    cluster = {"kind": "ClusterRole", "name": "eves", "apiGroup": "rbac.authorization.k8s.io"}
    await api.made(f"{RBAC}/clusterrolebindings", named("eve", roleRef=cluster, subjects=[EVE]))
    await api.made(f"{SHOP}/rolebindings", named("admins", roleRef=ADMIN, subjects=[{**EVE, "name": "boss"}]))
    await api.made(f"{CORE}/secrets", named("s", stringData={"k": "canary"}))
    await api.made(f"{CORE}/configmaps", named("theirs"))
    await api.made(f"{CORE}/pods", pod("running"))
    await api.made("/api/v1/nodes", named("n1"))
    await api.made("/apis/certificates.k8s.io/v1/certificatesigningrequests", csr("asked"))


@dataclass(frozen=True)
class Attack:
    row: str
    defence: str
    """What stands against it: an admission plugin, or authorization."""
    method: str
    url: str
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()
    refused: tuple[int, ...] = (403,)

    def __str__(self) -> str:
        return f"{self.row} {self.method} {self.url.removeprefix('/api')[-60:]}"


GRANT, ALLOW = "RBACEscalation", "authorization"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
PRIVILEGED = {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]}
EPHEMERAL = [{"name": "e", "image": "i", "securityContext": {"privileged": True}}]
OWNED = {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "running", "uid": "1"}]}
APPROVED = {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}
TABLE = (("accept", "application/json;as=Table;g=meta.k8s.io;v=v1"),)
PARTIAL = (("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),)

ATTACKS = [
    Attack("R01", GRANT, "POST", f"{SHOP}/roles", named("more", rules=SECRETS)),
    Attack("R01", GRANT, "PUT", f"{SHOP}/roles/own", named("own", rules=[*OWN_RULES, *SECRETS])),
    Attack("R01", GRANT, "POST", f"{RBAC}/clusterroles", named("more", rules=SECRETS)),
    Attack("R01", GRANT, "POST", f"{SHOP}/roles", named("stars", rules=[{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}])),
    Attack("R02", GRANT, "PATCH", f"{SHOP}/roles/weak", {"rules": SECRETS}),
    Attack("R02", GRANT, "APPLY", f"{SHOP}/roles/weak?force=true", {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", **named("weak", rules=SECRETS)}),
    Attack("R02", GRANT, "POST", f"{RBAC}/clusterroles", {"metadata": {"name": "viewed", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}}, "rules": SECRETS}),
    Attack("R02", GRANT, "POST", f"{RBAC}/clusterroles", named("sum", rules=[], aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]})),
    Attack("R02", GRANT, "PATCH", f"{SHOP}/rolebindings/admins", {"subjects": [EVE]}),
    Attack("R03", GRANT, "POST", f"{SHOP}/rolebindings", named("mine", roleRef=ADMIN, subjects=[EVE])),
    Attack("R03", ALLOW, "POST", f"{RBAC}/clusterrolebindings", named("mine", roleRef=ADMIN, subjects=[EVE])),
    Attack("R05", ALLOW, "GET", f"{CORE}/secrets", None, (("impersonate-user", "root"), ("impersonate-group", "system:masters"))),
    Attack("R05", ALLOW, "GET", f"{CORE}/pods", None, (("impersonate-user", "eve"), ("impersonate-uid", "7"))),
    Attack("R05", ALLOW, "GET", f"{CORE}/pods", None, (("impersonate-user", "eve"), ("impersonate-extra-scope", "all"))),
    Attack("R05", ALLOW, "GET", f"{CORE}/pods", None, (("impersonate-user", "system:serviceaccount:shop:strong"),)),
    Attack("R06", ALLOW, "POST", f"{CORE}/pods/running/exec?command=sh"),
    Attack("R06", ALLOW, "GET", f"{CORE}/pods/running/log"),
    Attack("R06", ALLOW, "PATCH", f"{CORE}/pods/running/status", {"status": {"podIP": "10.1.1.1"}}),
    Attack("R06", ALLOW, "POST", f"{CORE}/pods/running/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", **named("running")}),
    Attack("R06", ALLOW, "POST", f"{CORE}/pods/running/binding", named("running", target={"kind": "Node", "name": "n1"})),
    Attack("R06", ALLOW, "PUT", f"{LEASES}/new", named("new", spec={})),
    Attack("R06", ALLOW, "APPLY", f"{LEASES}/new", {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **named("new")}),
    Attack("R07", ALLOW, "GET", f"{CORE}/services"),
    Attack("R07", ALLOW, "GET", f"{CORE}/services?watch=true&timeoutSeconds=1"),
    Attack("R07", ALLOW, "GET", f"{CORE}/services?fieldSelector=metadata.name=theirs"),
    Attack("R07", ALLOW, "GET", f"{CORE}/services?fieldSelector=&fieldSelector=metadata.name=mine"),
    Attack("R07", ALLOW, "GET", f"{CORE}/services?fieldSelector=metadata.name!=mine"),
    Attack("R08", ALLOW, "GET", "/metrics"),
    Attack("R12", ALLOW, "GET", f"{CORE}/secrets", None, TABLE),
    Attack("R12", ALLOW, "GET", f"{CORE}/secrets", None, PARTIAL),
    Attack("R12", ALLOW, "GET", f"{CORE}/secrets?fieldSelector=metadata.name=s"),
    Attack("R12", ALLOW, "GET", "/api/v1/watch/namespaces/shop/secrets?timeoutSeconds=1"),
    Attack("R14", ALLOW, "GET", f"{CORE}/pods/running/exec?command=sh"),
    Attack("R14", ALLOW, "GET", f"{CORE}/pods/running/attach"),
    Attack("R14", ALLOW, "GET", f"{CORE}/pods/running/portforward"),
    Attack("R15", ALLOW, "GET", "/api/v1/nodes/n1/proxy/run"),
    Attack("R15", ALLOW, "POST", f"{CORE}/pods/running/proxy/x"),
    Attack("R15", ALLOW, "GET", f"{CORE}/services/s/proxy/x"),
    Attack("R16", "ServiceAccount", "POST", f"{CORE}/pods", pod(serviceAccountName="held", volumes=[{"name": "v", "secret": {"secretName": "s"}}])),
    Attack("R16", "ServiceAccount", "POST", f"{CORE}/pods", pod(serviceAccountName="held", containers=[{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}])),
    Attack("R16", "ServiceAccount", "POST", f"{CORE}/pods", pod(serviceAccountName="nobody")),
    Attack("R17", ALLOW, "POST", f"{CORE}/serviceaccounts/strong/token", {"spec": {}}),
    Attack("R18", "CertificateApproval", "PATCH", f"{CSRS}/asked/approval", {"status": APPROVED}),
    Attack("R18", "CertificateSigning", "PATCH", f"{CSRS}/asked/status", {"status": {"certificate": CERTIFICATE}}, refused=(403, 422)),
    Attack("R18 U05", "CertificateSubjectRestriction", "POST", CSRS, csr("masters", "system:masters")),
    Attack("R19", ALLOW, "PATCH", "/api/v1/namespaces/shop", {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}),
    Attack("R20", "PodSecurity", "POST", f"{CORE}/pods", pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}])),
    Attack("R20", ALLOW, "POST", "/api/v1/persistentvolumes", named("v", spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}})),
    Attack("R21", ALLOW, "POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", named("w", webhooks=[])),
    Attack("R21", ALLOW, "POST", "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", named("w", webhooks=[])),
    Attack("R22", "Priority", "POST", f"{CORE}/pods", pod(priority=2_000_001_000)),
    Attack("R22", "PodSecurity", "POST", f"{CORE}/pods", pod(hostNetwork=True)),
    Attack("R24", "PodSecurity", "STRATEGIC", f"{CORE}/pods/running/ephemeralcontainers", {"spec": {"ephemeralContainers": EPHEMERAL}}),
    Attack("R25", "OwnerReferencesPermissionEnforcement", "PATCH", f"{CORE}/configmaps/theirs", {"metadata": OWNED}),
    Attack("R26", "PodSecurity", "POST", f"{CORE}/pods", pod(**PRIVILEGED)),
    Attack("R26", "PodSecurity", "POST", f"{CORE}/pods?dryRun=All", pod(**PRIVILEGED)),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api() -> AsyncIterator[SecuredApi]:
    """One for all attacks that fail: they change nothing."""
    async with secured_api() as made:
        await prepare(made)
        yield made


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_an_attack_fails(api: SecuredApi, attack: Attack) -> None:
    before = api.server.machine.store.revision
    answer = await api.ask("eve", attack.method, attack.url, attack.body, **dict(attack.headers))
    assert answer.status in attack.refused, answer.body
    assert "canary" not in str(answer.body)
    assert api.server.machine.store.revision == before


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
async def test_without_its_defence_it_succeeds(attack: Attack) -> None:
    async with secured_api(without=attack.defence) as api:
        await prepare(api)
        answer = await api.ask("eve", attack.method, attack.url, attack.body, **dict(attack.headers))
        assert answer.done, answer.body


async def test_opening_a_shell_by_get_would_be_reading_if_the_verb_were_the_methods(monkeypatch: Any) -> None:
    """R14: whoever may only read `pods/exec` cannot open one by a GET."""
    async with secured_api() as api:
        await prepare(api)
        rules = [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get"]}]
        await api.ask("root", "PATCH", f"{SHOP}/roles/own", {"rules": rules})
        url = f"{CORE}/pods/running/exec?command=sh"
        assert (await api.ask("eve", "GET", url)).status == 403
        monkeypatch.setattr(understand, "CARRIED", ())
        assert (await api.ask("eve", "GET", url)).status == 200


async def test_a_forbidden_answer_does_not_say_whether_the_object_is_there() -> None:
    """R13."""
    async with secured_api() as api:
        await prepare(api)
        there, absent = [await api.ask("eve", "GET", f"{CORE}/secrets/{name}") for name in ("s", "x")]
        assert (there.status, absent.status) == (403, 403)
        assert str(there.body).replace('"s"', '"x"').replace("'s'", "'x'") == str(absent.body)


@pytest.mark.parametrize(
    "url",
    [
        "/api/v1/namespaces/shop/nodes", "/api/v1/namespaces/shop/nodes/n1", "/api/v1/pods/running",
        "/apis/apps/v1/namespaces/shop/pods", "/api/v1/namespaces/shop/../kube-system/secrets",
        "/api/v1/namespaces/shop%2f..%2fkube-system/secrets", "/api/v1/namespaces//secrets",
    ],
)  # fmt: skip
async def test_no_path_reaches_an_object_through_a_scope_or_group_that_is_not_its_own(url: str) -> None:
    """R09, R10: also not for an administrator."""
    async with secured_api() as api:
        await prepare(api)
        assert (await api.ask("root", "GET", url)).status in (404, 405)


async def test_whoever_holds_a_permission_may_grant_it() -> None:
    """The other side of R01-R03: without it the refusals above would show nothing."""
    async with secured_api() as api:
        await prepare(api)
        assert (await api.ask("eve", "POST", f"{SHOP}/roles", named("less", rules=OWN_RULES[1:2]))).status == 201
        reference = {"kind": "Role", "name": "own", "apiGroup": "rbac.authorization.k8s.io"}
        bound = named("friend", roleRef=reference, subjects=[{**EVE, "name": "friend"}])
        assert (await api.ask("eve", "POST", f"{SHOP}/rolebindings", bound)).status == 201
        escalate = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["escalate"]}
        await api.ask("root", "PUT", f"{SHOP}/roles/own", named("own", rules=[*OWN_RULES, escalate]))
        assert (await api.ask("eve", "POST", f"{SHOP}/roles", named("more", rules=SECRETS))).status == 201


async def bound(api: SecuredApi, rules: Any) -> None:
    """Eve gets the rules of a ClusterRole by a binding in `shop`."""
    await api.made(f"{RBAC}/clusterroles", named("wide", rules=rules))
    reference = {"kind": "ClusterRole", "name": "wide", "apiGroup": "rbac.authorization.k8s.io"}
    await api.made(f"{SHOP}/rolebindings", named("wide", roleRef=reference, subjects=[EVE]))


async def test_a_cluster_role_that_is_bound_in_a_namespace_gives_nothing_outside_of_it() -> None:
    """R04: neither objects of the cluster, nor addresses that are no objects, nor another namespace's."""
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    async with secured_api() as api:
        await prepare(api)
        await bound(api, [everything, {"nonResourceURLs": ["*"], "verbs": ["*"]}])
        assert (await api.ask("eve", "GET", f"{CORE}/secrets/s")).status == 200
        for url in ("/api/v1/nodes", "/api/v1/nodes/n1", "/api/v1/namespaces", "/api/v1/secrets", "/metrics",
                    "/api/v1/namespaces/kube-system/secrets", f"{RBAC}/clusterroles", "/api/v1/nodes/n1/proxy/x"):  # fmt: skip
            assert (await api.ask("eve", "GET", url)).status == 403, url
        assert (await api.ask("eve", "DELETE", "/api/v1/namespaces/kube-system")).status == 403
        assert (await api.ask("eve", "PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": {"a": "b"}}})).status == 403
        assert (await api.ask("eve", "GET", "/api/v1/namespaces/shop")).status == 200  # upstream: it is in itself


async def test_a_watch_outlives_the_right_to_it_until_it_ends_by_itself() -> None:
    """R11: who may watch is asked once, as upstream; every watch ends within the hour, and its renewal is refused."""
    async with secured_api() as api:
        await prepare(api)
        ends = [wishes_of(api.server.machine, {}, "somebody").seconds for _ in range(100)]
        assert min(ends) >= 1800 and max(ends) <= 3600
        assert (await api.ask("eve", "GET", f"{CORE}/configmaps?watch=true&timeoutSeconds=1")).status == 200
        await api.ask("root", "DELETE", f"{SHOP}/rolebindings/eve")
        assert (await api.ask("eve", "GET", f"{CORE}/configmaps?watch=true&timeoutSeconds=1")).status == 403


async def test_what_a_template_would_make_is_judged_when_its_pods_are_made() -> None:
    """R23: whoever may write Deployments and no pods gets no pod by them that nobody may make."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": PRIVILEGED}
    deployment = named("d", spec={"selector": {"matchLabels": {"a": "b"}}, "template": template})
    controller = "system:serviceaccount:kube-system:replicaset-controller"
    url = "/apis/apps/v1/namespaces/shop/deployments"
    async with secured_api() as api:
        await prepare(api)
        assert (await api.ask("eve", "POST", url, deployment)).status == 403
        assert (await api.ask("root", "POST", url, deployment)).status == 201
        refused = await api.ask(controller, "POST", f"{CORE}/pods", pod(**PRIVILEGED))
        assert refused.status == 403 and "violates PodSecurity" in str(refused.body)
        assert (await api.ask(controller, "POST", f"{CORE}/pods", pod("fine"))).status == 201
    async with secured_api(without="PodSecurity") as api:
        await prepare(api)
        assert (await api.ask(controller, "POST", f"{CORE}/pods", pod(**PRIVILEGED))).status == 201


def everywhere(self: Rbac, user: User, namespace: str) -> Iterator[Any]:
    """As if a binding held outside of its namespace too."""
    for scope in {scope for scope, _, _ in self.bindings}:
        yield from granted(self, user, scope)


def talkative(attributes: Attributes, reason: str) -> Forbidden:
    found = forbidden_request(attributes, reason)
    return Forbidden(f"{found.message}: {attributes.name} is there") if attributes.name == "s" else found


granted = Rbac.granted

PROVEN: list[tuple[Any, tuple[Any, ...], str, Any]] = [
    (test_a_forbidden_answer_does_not_say_whether_the_object_is_there, (), "kybern.apiserver.layers.authorize.forbidden_request", talkative),
    (
        test_no_path_reaches_an_object_through_a_scope_or_group_that_is_not_its_own, ("/api/v1/namespaces/shop/nodes",),
        "kybern.apiserver.dispatch.Dispatch._check_scope", lambda *_: None,
    ),
    (test_a_cluster_role_that_is_bound_in_a_namespace_gives_nothing_outside_of_it, (), "kybern.apiserver.auth.rbac.Rbac.granted", everywhere),
    (test_a_watch_outlives_the_right_to_it_until_it_ends_by_itself, (), "kybern.apiserver.verbs.watching.TIMEOUT_SECONDS_MIN", 86_400),
]  # fmt: skip


@pytest.mark.parametrize(("row", "values", "defence", "mutant"), PROVEN)
async def test_without_its_defence_the_row_fails(
    row: Any, values: tuple[Any, ...], defence: str, mutant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(defence, mutant)
    with pytest.raises(AssertionError):
        await row(*values)
