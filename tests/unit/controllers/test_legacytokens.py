"""Which old tokens nobody uses: what is in doubt stays."""

from datetime import date
from typing import Any, cast

import pytest

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod, Secret, ServiceAccount
from kybern.client import View
from kybern.controllers.legacytokens import LAST_USED, is_unused, mounted
from kybern.controllers.serviceaccounttokens import ACCOUNT_NAME, ACCOUNT_UID, TYPE

LIMIT = date(2026, 1, 1)


class Known:
    def get(self, of: type[Any], name: str, namespace: str) -> ServiceAccount:
        meta = {"name": name, "namespace": namespace, "uid": "u1"}
        return from_builtins(ServiceAccount, {"metadata": meta, "secrets": [{"name": "old"}]})

    def list(self, of: type[Any], namespace: str) -> list[Pod]:
        return []


def unused(uid: str = "u1", created: str = "2025-01-01T00:00:00Z", **labels: str) -> bool:
    annotations = {ACCOUNT_NAME: "robot", **({ACCOUNT_UID: uid} if uid else {})}
    meta = {"name": "old", "namespace": "x", "creationTimestamp": created, "annotations": annotations, "labels": labels}
    secret = from_builtins(Secret, {"metadata": meta, "type": TYPE})
    return is_unused(secret, LIMIT, cast(View, Known()))


def test_a_token_of_its_account_that_nobody_used_is_unused() -> None:
    assert unused()
    assert unused(uid="")
    assert unused(**{LAST_USED: "2025-06-01"})


def test_a_token_that_is_young_was_used_lately_or_is_anothers_is_kept() -> None:
    assert not unused(created="2026-02-01T00:00:00Z")
    assert not unused(**{LAST_USED: "2026-02-01"})
    assert not unused(**{LAST_USED: "no day"})
    assert not unused(uid="another")


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
        {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]},
        {"imagePullSecrets": [{"name": "s"}]},
        {"initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]},
        {
            "containers": [
                {"name": "c", "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
            ]
        },
    ],
)
def test_a_pod_uses_a_secret_in_many_ways(spec: dict[str, Any]) -> None:
    found = from_builtins(Pod, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main"}], **spec}})
    assert "s" in mounted([found])
