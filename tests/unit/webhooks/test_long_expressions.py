"""What takes long to compile is compiled beside the loop, wherever expressions are written or first asked."""

import threading
from typing import Any

import pytest
from admitted_api import AdmittedApi
from custom_kinds import DEFINITIONS, definition, passes, version

from kybern.cel import Environment, Program
from kybern.cel.types import Type
from kybern.registry.devices import SELECTORS_LENGTH_MAX
from kybern.registry.matchconditions import compiled

LONG = " || ".join(["true"] * 2000)
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
MAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
RULES = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of those that compiled a long expression."""
    found: list[str] = []
    compile_ = Environment.compile

    def noted(self: Environment, expression: str, *results: Type) -> Program:
        if len(expression) > 4096:
            found.append(threading.current_thread().name)
        return compile_(self, expression, *results)

    monkeypatch.setattr(Environment, "compile", noted)
    return found


def claim(expression: str, times: int = 1, name: str = "claim") -> dict[str, Any]:
    selectors = [{"cel": {"expression": expression}}]
    requests = [
        {"name": f"r{n}", "exactly": {"deviceClassName": "any.example.com", "selectors": selectors}}
        for n in range(times)
    ]
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": requests}}}


def is_aside(threads: list[str]) -> bool:
    return bool(threads) and all(name.startswith("beside") for name in threads)


async def test_a_long_policy_is_compiled_aside_when_written_and_when_it_is_first_asked(
    api: AdmittedApi, threads: list[str]
) -> None:
    spec = {"matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": f"!({LONG})"}]}
    await api.made(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "long"}, "spec": spec})
    assert is_aside(threads)
    threads.clear()
    bound = {"policyName": "long", "validationActions": ["Deny"]}
    await api.made(f"{ADMISSION}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound})
    assert not threads, "nobody has asked it yet"
    assert (await api.post(MAPS, {"metadata": {"name": "a"}})).status == 422
    assert is_aside(threads)
    threads.clear()
    assert (await api.post(MAPS, {"metadata": {"name": "a"}})).status == 422
    assert not threads, "it is compiled once"


async def test_long_rules_of_a_definition_are_compiled_aside_when_written_and_when_served(
    api: AdmittedApi, threads: list[str]
) -> None:
    spec = {"type": "object", "properties": {}, "x-kubernetes-validations": [{"rule": LONG}]}
    wanted = definition("widgets", "Widget", version(schema={"type": "object", "properties": {"spec": spec}}))
    await api.made(DEFINITIONS, wanted)
    while (await api.get(WIDGETS)).status != 200:
        await passes()
    assert is_aside(threads)
    assert len(threads) >= 2


async def test_long_conditions_of_a_webhook_are_compiled_aside(api: AdmittedApi, threads: list[str]) -> None:
    hook = {
        "name": "long.example.com",
        "rules": RULES,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://nowhere.example.com/"},
        "matchConditions": [{"name": "long", "expression": f"!({LONG})"}],
    }
    await api.made(f"{ADMISSION}/validatingwebhookconfigurations", {"metadata": {"name": "a"}, "webhooks": [hook]})
    assert is_aside(threads)
    compiled.cache_clear()
    threads.clear()
    assert (await api.post(MAPS, {"metadata": {"name": "a"}})).status == 201
    assert is_aside(threads)


async def test_long_selectors_of_devices_are_compiled_aside_and_bounded_together(
    api: AdmittedApi, threads: list[str]
) -> None:
    await api.made(CLAIMS, claim(LONG[:9996]))
    assert is_aside(threads)
    threads.clear()
    refused = await api.post(CLAIMS, claim(LONG[:9996], SELECTORS_LENGTH_MAX // 9996 + 1, "other"))
    assert refused.status == 422
    assert "all selectors together may have at most 65536 characters" in refused.message
    assert not threads
