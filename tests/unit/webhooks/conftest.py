"""An API server with admission, and webhooks' configurations as tests write them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from admitted_api import AdmittedApi, admitted_api

GROUP = "/apis/admissionregistration.k8s.io/v1"
RULE = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}


@pytest.fixture
async def api() -> AsyncIterator[AdmittedApi]:
    async with admitted_api() as made:
        yield made


@pytest.fixture
def hook() -> Any:
    """A webhook as JSON: for config maps, unless told otherwise."""

    def made(client_config: dict[str, Any], *, rule: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        rules = [{**RULE, "resources": ["configmaps"], **(rule or {})}]
        return {
            "name": "hook.example.com",
            "clientConfig": client_config,
            "rules": rules,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 5,
            **more,
        }

    return made


@pytest.fixture
def install(api: AdmittedApi) -> Any:
    async def created(kind: str, *webhooks: dict[str, Any], name: str = "hooks") -> Any:
        plural = f"{kind.lower()}webhookconfigurations"
        return await api.post(f"{GROUP}/{plural}", {"metadata": {"name": name}, "webhooks": list(webhooks)})

    return created
