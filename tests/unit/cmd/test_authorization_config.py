"""An AuthorizationConfiguration is refused whole where any of it makes no sense, and followed while the server runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from kybern.aio.clock import LoopClock
from kybern.apiserver.auth.access_webhook import AccessWebhook, spec_of
from kybern.apiserver.auth.remote import NoAnswer
from kybern.apiserver.request import Attributes, User
from kybern.cmd.authorization_config import order_in, read_order, seconds
from kybern.cmd.followed_file import FollowedFile

PODS = Attributes(user=User("jane", ("dev",)), verb="get", version="v1", resource="pods", namespace="x", name="p")


def webhook(folder: Path, name: str = "policy", **changes: Any) -> dict[str, Any]:
    kubeconfig = folder / "kubeconfig"
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:1/authorize"}}
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "x", "clusters": [cluster],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
            }
        )
    )  # fmt: skip
    settings = {
        "timeout": "3s", "failurePolicy": "Deny", "subjectAccessReviewVersion": "v1",
        "matchConditionSubjectAccessReviewVersion": "v1",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(kubeconfig)},
    }  # fmt: skip
    return {"type": "Webhook", "name": name, "webhook": settings | changes}


NODE, RBAC = {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}


def written(folder: Path, *authorizers: Any, **changes: Any) -> Path:
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthorizationConfiguration",
        "authorizers": authorizers,
    }
    path = folder / "authorization.yaml"
    path.write_text(json.dumps(document | changes))
    return path


def test_the_order_is_the_files(tmp_path: Path) -> None:
    path = written(tmp_path, webhook(tmp_path, authorizedTTL="1m30s", cacheUnauthorizedRequests=False), NODE, RBAC)
    first, *others = read_order(path, LoopClock())
    assert others == ["Node", "RBAC"]
    assert isinstance(first, AccessWebhook)
    assert (first.settings.name, first.settings.allowed_seconds, first.settings.refused_seconds) == (
        "policy",
        90.0,
        0.0,
    )
    assert (first.settings.timeout_seconds, first.settings.failure_denies, first.path) == (3.0, True, "/authorize")


@pytest.mark.parametrize(
    ("expression", "concerned"),
    [
        ("request.user == 'jane'", True),
        ("'dev' in request.groups && has(request.resourceAttributes)", True),
        ("has(request.resourceAttributes) && request.resourceAttributes.namespace == 'kube-system'", False),
        ("has(request.nonResourceAttributes)", False),
    ],
)
async def test_a_webhook_is_asked_about_what_its_conditions_say(
    tmp_path: Path, expression: str, concerned: bool
) -> None:
    path = written(tmp_path, webhook(tmp_path, matchConditions=[{"expression": expression}]))
    (found,) = read_order(path, LoopClock())
    assert isinstance(found, AccessWebhook) and found.settings.concerns is not None
    assert await found.settings.concerns(spec_of(PODS)) is concerned


async def test_a_condition_that_cannot_be_evaluated_is_a_failure(tmp_path: Path) -> None:
    path = written(
        tmp_path, webhook(tmp_path, matchConditions=[{"expression": "request.nonResourceAttributes.path == '/'"}])
    )
    (found,) = read_order(path, LoopClock())
    assert isinstance(found, AccessWebhook) and found.settings.concerns is not None
    with pytest.raises(NoAnswer, match="no such key"):
        await found.settings.concerns(spec_of(PODS))


@pytest.mark.parametrize(
    ("authorizers", "why"),
    [
        ([], "at least one"),
        ([RBAC, RBAC | {"name": "again"}], "type: Duplicate"),
        ([NODE, RBAC | {"name": "node"}], "name: Duplicate"),
        ([{"type": "ABAC", "name": "abac"}], "type: Unsupported"),
        ([{"type": "RBAC", "name": "A_B"}], "name: Invalid"),
        ([{"type": "Webhook", "name": "w"}], "webhook"),
        ([{"type": "RBAC", "name": "a", "more": 1}], "unknown field"),
        ([{"timeout": "0s"}], "timeout: Invalid"),
        ([{"timeout": "31s"}], "less than or equal to 30s"),
        ([{"failurePolicy": "Ignore"}], "failurePolicy: Unsupported"),
        ([{"subjectAccessReviewVersion": "v1beta1"}], "subjectAccessReviewVersion"),
        ([{"connectionInfo": {"type": "InClusterConfig"}}], "connectionInfo"),
        ([{"matchConditions": [{"expression": "request.username == 'x'"}]}], r"\[0\].expression: Invalid value: compilation failed"),
        ([{"matchConditions": [{"expression": "request.user"}]}], "must evaluate to bool"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told(tmp_path: Path, authorizers: list[Any], why: str) -> None:
    listed = [one if "type" in one else webhook(tmp_path, **one) for one in authorizers]
    with pytest.raises(ValueError, match=why):
        read_order(written(tmp_path, *listed), LoopClock())


def test_the_file_is_followed_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    used: list[Any] = []
    path = written(tmp_path, NODE, RBAC)
    file = FollowedFile(path, lambda text: used.append(order_in(text, path, LoopClock())), "authorization", LoopClock())
    file.look()
    assert used == []
    written(tmp_path, RBAC)
    file.look()
    file.look()
    assert used == [("RBAC",)]
    written(tmp_path, RBAC, kind="Other")
    file.look()
    path.unlink()
    file.look()
    assert used == [("RBAC",)]
    written(tmp_path, RBAC, NODE)
    file.look()
    assert used[1:] == [("RBAC", "Node")]


@pytest.mark.parametrize(
    ("text", "expected"), [("3s", 3), ("1m", 60), ("1h1m0.5s", 3660.5), ("", 0), ("3", 0), ("-3s", 0)]
)
def test_durations_are_upstreams(text: str, expected: float) -> None:
    assert seconds(text) == expected
