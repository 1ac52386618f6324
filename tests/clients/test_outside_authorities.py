"""A whole server that believes others: an OIDC issuer, a token webhook, a front proxy, a webhook that decides; over TLS."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from authorities import Authorities, authorities, kubeconfig, proxied
from conftest import Cluster, until

pytestmark = pytest.mark.clients

MAPS, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def decide(spec: Any) -> dict[str, Any]:
    """Developers may read ConfigMaps and hand out what they like, and nobody of them may see Secrets."""
    about = spec.get("resourceAttributes", {})
    if about.get("resource") == "secrets":
        return {"allowed": False, "denied": True, "reason": "secrets are for nobody"}
    allowed = about.get("resource") == "configmaps" or about.get("verb") in ("escalate", "bind")
    return {"allowed": allowed or about.get("resource") == "roles", "reason": "developers"}


@dataclass
class World:
    cluster: Cluster
    others: Authorities
    authorization: Path
    authentication: Path
    proxy: Path

    def ask(
        self, method: str, path: str, body: Any = None, token: str = "", proxy: bool = False, **headers: str
    ) -> tuple[int, Any]:
        context = ssl.create_default_context(cafile=str(self.cluster.data_dir / "pki" / "ca.crt"))
        if proxy:
            context.load_cert_chain(self.proxy)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            named["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        url = f"https://127.0.0.1:{self.cluster.port}{path}"
        request = urllib.request.Request(url, data, {"content-type": "application/json", **named}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def who(self, **how: Any) -> tuple[str, set[str]]:
        status, body = self.ask("POST", REVIEW, {}, **how)
        assert status == 201, body
        info = body["status"]["userInfo"]
        return info["username"], set(info["groups"]) - {"system:authenticated"}

    @property
    def jane(self) -> str:
        """Her groups are somewhere else."""
        source = {"endpoint": f"{self.others.url}/groups/jane"}
        return self.others.token(sub="jane", _claim_names={"groups": "g"}, _claim_sources={"g": source})


def configuration(folder: Path, others: Authorities, *, asking: bool) -> str:
    webhook = {
        "timeout": "10s", "failurePolicy": "Deny", "subjectAccessReviewVersion": "v1", "unauthorizedTTL": "1s",
        "matchConditionSubjectAccessReviewVersion": "v1",
        "connectionInfo": {
            "type": "KubeConfigFile", "kubeConfigFile": str(kubeconfig(folder / "deciding", others, "/authorize")),
        },
        "matchConditions": [{"expression": "'oidc:developers' in request.groups"}],
    }  # fmt: skip
    members = [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]
    first = [{"type": "Webhook", "name": "policy", "webhook": webhook}] if asking else []
    return json.dumps(
        {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthorizationConfiguration",
            "authorizers": [*first, *members],
        }
    )


@pytest.fixture(scope="module")
def world(make_cluster: Callable[[], Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("others")
    cluster = make_cluster()
    with authorities(folder, decide) as others:
        believed = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AuthenticationConfiguration",
            "jwt": [
                {
                    "issuer": {"url": others.url, "audiences": ["kybern"], "certificateAuthority": others.ca.certificate.decode()},
                    "claimMappings": {
                        "username": {"claim": "sub", "prefix": "oidc:"},
                        "groups": {"claim": "groups", "prefix": "oidc:"},
                    },
                }
            ],
        }  # fmt: skip
        (folder / "authentication").write_text(json.dumps(believed))
        (folder / "authorization").write_text(configuration(folder, others, asking=True))
        proxies, proxy = proxied(folder)
        cluster.kybern(
            "up", "--simulated", "--port", str(cluster.port), "--node-name", "simulated-1",
            "--authentication-config", str(folder / "authentication"),
            "--authentication-token-webhook-config-file", str(kubeconfig(folder / "tokens", others, "/tokens")),
            "--authorization-config", str(folder / "authorization"),
            "--requestheader-client-ca-file", str(proxies),
        )  # fmt: skip
        yield World(cluster, others, folder / "authorization", folder / "authentication", proxy)
        cluster.kybern("reset", check=False)


def test_a_user_of_an_outside_issuer_has_the_groups_of_another_place(world: World) -> None:
    assert world.who(token=world.jane) == ("oidc:jane", {"oidc:developers"})
    status, _ = world.ask("GET", MAPS, token=world.jane[:-8] + "tampered")
    assert status == 401


def test_another_server_knows_tokens(world: World) -> None:
    assert world.who(token="opaque") == ("robot", {"machines"})
    assert world.ask("GET", MAPS, token="unknown")[0] == 401


def test_a_front_proxy_speaks_for_users_by_a_certificate_of_an_intermediate_authority(world: World) -> None:
    named = {"x_remote_user": "carol", "x_remote_group": "team"}
    assert world.who(proxy=True, **named) == ("carol", {"team"})
    assert world.ask("POST", REVIEW, {}, **named)[0] in (401, 403)


def test_another_server_allows_and_denies_before_rbac_does(world: World) -> None:
    assert world.ask("GET", MAPS, token=world.jane)[0] == 200
    status, refused = world.ask("GET", SECRETS, token=world.jane)
    assert (status, refused["message"].rpartition(": ")[2]) == (403, "secrets are for nobody")
    before = len(world.others.asked)
    assert world.ask("GET", MAPS, token="opaque")[0] == 403
    assert len(world.others.asked) == before  # he is none of its developers


def test_what_admission_checks_is_asked_of_the_other_server_too(world: World) -> None:
    rules = [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["*"]}]
    role = {"metadata": {"name": "more"}, "rules": rules}
    status, body = world.ask(
        "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", role, token=world.jane
    )
    assert status == 201, body
    assert "escalate" in {one.get("resourceAttributes", {}).get("verb") for one in world.others.asked}


def test_the_order_of_authorizers_is_read_again_when_its_file_changes(world: World) -> None:
    """Last: nobody asks the other server afterwards."""
    kept = world.authorization.read_text()
    world.authorization.write_text("{}")
    world.authorization.write_text(configuration(world.authorization.parent, world.others, asking=False))
    until(lambda: world.ask("GET", MAPS, token=world.jane)[0] == 403)
    world.authorization.write_text(kept)
    until(lambda: world.ask("GET", MAPS, token=world.jane)[0] == 200)


def test_the_issuers_are_read_again_when_their_file_changes(world: World) -> None:
    believed = json.loads(world.authentication.read_text())
    world.authentication.write_text(json.dumps(believed | {"jwt": []}))
    until(lambda: world.ask("GET", MAPS, token=world.jane)[0] == 401)
    believed["jwt"][0]["claimMappings"]["username"]["prefix"] = "other:"
    world.authentication.write_text(json.dumps(believed))
    until(lambda: world.ask("POST", REVIEW, {}, token=world.jane)[0] == 201)
    assert world.who(token=world.jane)[0] == "other:jane"
