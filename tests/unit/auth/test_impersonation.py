"""Impersonation: every part of the other identity is a right of its own (R05)."""

import asyncio
from typing import Any

import pytest

from kybern.api.codec import from_builtins
from kybern.api.errors import BadRequest, Forbidden
from kybern.api.rbac_v1 import ClusterRole, ClusterRoleBinding
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.request import User
from kybern.testing.memory_objects import MemoryObjects
from kybern.web.http import Request

JANE = User("jane", ("system:authenticated",))
ROOT = User("root", ("system:masters",))


def acting(headers: dict[str, str], *rules: dict[str, Any], user: User = JANE) -> User:
    role = from_builtins(
        ClusterRole, {"metadata": {"name": "r"}, "rules": [{"verbs": ["impersonate"], **r} for r in rules]}
    )
    reference = {"kind": "ClusterRole", "name": "r"}
    subjects = [{"kind": "User", "name": "jane"}]
    body = {"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects}
    objects = MemoryObjects(role, from_builtins(ClusterRoleBinding, body))
    return asyncio.run(Impersonation(Authorizers((following(objects),))).acting(user, sent(headers)))


def sent(headers: dict[str, str]) -> Request:
    """With a line for each group."""
    groups = tuple(("impersonate-group", name) for name in headers.get("impersonate-group", "").split(", ") if name)
    return Request("GET", "/", "", headers, repeated=groups if len(groups) > 1 else ())


USERS = {"apiGroups": [""], "resources": ["users"]}
GROUPS = {"apiGroups": [""], "resources": ["groups"]}
IDENTITY = "authentication.k8s.io"


def test_without_headers_everybody_is_who_they_are() -> None:
    assert acting({}) == JANE


def test_the_right_to_a_user_gives_that_user() -> None:
    assert acting({"impersonate-user": "joe"}, USERS) == User("joe", ("system:authenticated",))
    with pytest.raises(Forbidden) as refused:
        acting({"impersonate-user": "joe"})
    assert refused.value.message == (
        'users "joe" is forbidden: User "jane" cannot impersonate resource "users" in API group "" at the cluster scope'
    )
    with pytest.raises(Forbidden):
        acting({"impersonate-user": "joe"}, {**USERS, "resourceNames": ["ann"]})


@pytest.mark.parametrize(
    "headers",
    [
        {"impersonate-group": "system:masters"}, {"impersonate-group": "dev, system:masters"},
        {"impersonate-uid": "1"}, {"impersonate-extra-scopes": "all"},
    ],
)  # fmt: skip
def test_the_right_to_a_user_gives_no_groups_uids_or_extras(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        acting({"impersonate-user": "joe", **headers}, USERS, {**GROUPS, "resourceNames": ["dev"]})


def test_groups_uids_and_extras_come_by_their_own_rights() -> None:
    headers = {
        "impersonate-user": "joe", "impersonate-group": "dev, ops", "impersonate-uid": "7",
        "impersonate-extra-acme.com%2fproject": "a",
    }  # fmt: skip
    found = acting(
        headers, USERS, GROUPS, {"apiGroups": [IDENTITY], "resources": ["uids"]},
        {"apiGroups": [IDENTITY], "resources": ["userextras/acme.com/project"]},
    )  # fmt: skip
    assert found == User("joe", ("dev", "ops", "system:authenticated"), "7", {"acme.com/project": ("a",)})


def test_a_service_account_comes_with_its_groups_and_by_its_own_right() -> None:
    headers = {"impersonate-user": "system:serviceaccount:x:robot"}
    with pytest.raises(Forbidden):
        acting(headers, USERS)
    found = acting(headers, {"apiGroups": [""], "resources": ["serviceaccounts"]})
    assert found.groups == ("system:serviceaccounts", "system:serviceaccounts:x", "system:authenticated")


@pytest.mark.parametrize("header", ["impersonate-group", "impersonate-uid", "impersonate-extra-scopes"])
def test_groups_without_a_user_make_no_sense(header: str) -> None:
    with pytest.raises(BadRequest):
        acting({header: "x"}, user=ROOT)


def test_the_anonymous_are_not_authenticated() -> None:
    found = acting({"impersonate-user": "system:anonymous"}, user=ROOT)
    assert found.groups == ("system:unauthenticated",)
