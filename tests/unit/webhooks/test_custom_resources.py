"""Webhooks and policies about custom resources: pruned and defaulted by their schema, in whichever version is asked for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from admitted_api import AdmittedApi
from webhooks import answered, hook_server, patched, review_of

from kybern.web.http import Request, Response

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ONE = "/apis/example.com/v1/namespaces/default/widgets"
TWO = "/apis/example.com/v2/namespaces/default/widgets"
SCHEMA = {
    "type": "object",
    "properties": {
        "data": {"type": "object", "additionalProperties": {"type": "string"}},
        "size": {"type": "integer", "default": 3},
        "unit": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 1}},
        },
    },
}


def version(name: str, *, storage: bool) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": SCHEMA}}


def definition(**more: Any) -> dict[str, Any]:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    versions = [version("v1", storage=True), version("v2", storage=False)]
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": versions, **more}
    return {"metadata": {"name": "widgets.example.com"}, "spec": spec}


def widget(name: str = "w", at: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{at}", "kind": "Widget", "metadata": {"name": name}, **fields}


RULE = {"apiGroups": ["example.com"], "resources": ["widgets"]}


@pytest.fixture
async def widgets(api: AdmittedApi) -> AsyncIterator[AdmittedApi]:
    await api.made(DEFINITIONS, definition())
    await api.served(ONE)
    await api.served(TWO)
    yield api


async def test_what_a_webhook_adds_is_pruned_and_defaulted_by_the_schema(
    widgets: AdmittedApi, hook: Any, install: Any
) -> None:
    async def add(request: Request) -> Response:
        return patched(
            request,
            {"op": "add", "path": "/data", "value": {"mutation": "yes"}},
            {"op": "add", "path": "/unknown", "value": 1},
            {"op": "add", "path": "/unit", "value": {"name": "kg"}},
        )

    async with hook_server(add) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule=RULE))
        made = await widgets.made(ONE, widget())
    assert made["data"] == {"mutation": "yes"} and "unknown" not in made
    assert made["unit"] == {"name": "kg", "count": 1} and made["size"] == 3
    assert hooks.requests[0]["object"]["size"] == 3, "a webhook sees what is defaulted"


async def test_what_a_webhook_makes_is_validated_by_the_schema(widgets: AdmittedApi, hook: Any, install: Any) -> None:
    async def spoil(request: Request) -> Response:
        return patched(request, {"op": "replace", "path": "/size", "value": "large"})

    async with hook_server(spoil) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule=RULE))
        refused = await widgets.post(ONE, widget())
    assert refused.status == 422
    assert "size: Invalid value" in refused.message


async def test_creating_changing_and_deleting_can_be_denied(widgets: AdmittedApi, hook: Any, install: Any) -> None:
    async def deny(request: Request) -> Response:
        asked = review_of(request)["request"]
        about = asked["object"] or asked["oldObject"]
        bad = about.get("data", {}).get("webhook") == "disallow"
        return answered(request, allowed=not bad, status={"message": "the custom resource contains unwanted data"})

    async with hook_server(deny) as hooks:
        await widgets.made(ONE, widget("old", data={"webhook": "disallow"}))
        await install("Validating", hook(hooks.client_config(), rule=RULE))
        assert (await widgets.post(ONE, widget(data={"webhook": "disallow"}))).message.endswith("unwanted data")
        assert (await widgets.delete(f"{ONE}/old")).status == 400
        await widgets.made(ONE, widget())
        assert (await widgets.patch(f"{ONE}/w", {"data": {"webhook": "disallow"}})).status == 400
        assert (await widgets.patch(f"{ONE}/w", {"data": {"webhook": "allow"}})).status == 200


async def test_it_goes_on_after_the_storage_version_has_changed(widgets: AdmittedApi, hook: Any, install: Any) -> None:
    async def stamp(request: Request) -> Response:
        return patched(
            request, {"op": "add", "path": "/data", "value": {"stage": review_of(request)["request"]["operation"]}}
        )

    async with hook_server(stamp) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule={**RULE, "apiVersions": ["v1"]}))
        await widgets.made(ONE, widget())
        versions = [version("v1", storage=False), version("v2", storage=True)]
        assert (
            await widgets.patch(f"{DEFINITIONS}/widgets.example.com", {"spec": {"versions": versions}})
        ).status == 200
        changed = await widgets.patch(f"{ONE}/w", {"size": 9})
        by_two = await widgets.patch(f"{TWO}/w", {"size": 10})
    assert (changed.body["size"], changed.body["data"]) == (9, {"stage": "UPDATE"})
    assert (by_two.body["apiVersion"], by_two.body["data"]) == ("example.com/v2", {"stage": "UPDATE"})
    assert {request["object"]["apiVersion"] for request in hooks.requests} == {"example.com/v1"}


async def test_versions_that_a_webhook_converts_are_shown_converted(api: AdmittedApi, hook: Any, install: Any) -> None:
    """v1 has `size`, v2 calls it the same but doubled: the conversion says which version a hook really saw."""

    async def convert(request: Request) -> Response:
        asked = review_of(request)["request"]
        wanted, made = asked["desiredAPIVersion"], []
        for found in asked["objects"]:
            size = found["size"] * 2 if wanted.endswith("v2") else found["size"] // 2
            made.append({**found, "apiVersion": wanted, "size": size})
        body = {"uid": asked["uid"], "convertedObjects": made, "result": {"status": "Success"}}
        review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": body}
        return Response(200, {}, json.dumps(review).encode())

    async def bigger(request: Request) -> Response:
        size = review_of(request)["request"]["object"]["size"]
        return patched(request, {"op": "replace", "path": "/size", "value": size + 2})

    async with hook_server(convert) as conversions, hook_server(bigger) as hooks:
        webhook = {"clientConfig": conversions.client_config(), "conversionReviewVersions": ["v1"]}
        await api.made(DEFINITIONS, definition(conversion={"strategy": "Webhook", "webhook": webhook}))
        await api.served(ONE)
        await install("Mutating", hook(hooks.client_config(), rule={**RULE, "apiVersions": ["v2"]}))
        made = await api.made(ONE, widget(size=5))
    assert hooks.requests[0]["object"]["size"] == 10 and hooks.requests[0]["object"]["apiVersion"] == "example.com/v2"
    assert (made["apiVersion"], made["size"]) == ("example.com/v1", 6)


async def test_policies_judge_and_change_custom_resources(widgets: AdmittedApi) -> None:
    rule = {**RULE, "apiVersions": ["*"], "operations": ["CREATE"]}
    judged = {"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "object.size < 10"}]}
    changed = {
        "matchConstraints": {"resourceRules": [rule]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": 'Object{data: {"by": "policy"}}'}}],
    }  # fmt: skip
    for kind, spec in (("validating", judged), ("mutating", changed)):
        await widgets.made(f"{ADMISSION}/{kind}admissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
        actions = {"validationActions": ["Deny"]} if kind == "validating" else {}
        binding = {"metadata": {"name": "b"}, "spec": {"policyName": "p", **actions}}
        await widgets.made(f"{ADMISSION}/{kind}admissionpolicybindings", binding)
    assert (await widgets.post(ONE, widget(size=10))).message.endswith("failed expression: object.size < 10")
    assert (await widgets.made(ONE, widget()))["data"] == {"by": "policy"}


async def test_custom_resources_parametrise_policies(widgets: AdmittedApi) -> None:
    await widgets.made(TWO, widget("limit", at="v2", size=4))
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "paramKind": {"apiVersion": "example.com/v2", "kind": "Widget"},
        "validations": [{"expression": "object.data.size() < params.size && params.kind == 'Widget'"}],
    }
    await widgets.made(f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": "p"}, "spec": spec})
    ref = {"name": "limit", "parameterNotFoundAction": "Deny"}
    binding = {"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": ref}}
    await widgets.made(f"{ADMISSION}/validatingadmissionpolicybindings", binding)
    maps = "/api/v1/namespaces/default/configmaps"
    many = {"metadata": {"name": "m"}, "data": {str(n): "x" for n in range(5)}}
    assert (await widgets.post(maps, many)).status == 422
    assert (await widgets.post(maps, {"metadata": {"name": "f"}, "data": {"a": "b"}})).status == 201


async def test_a_definition_can_be_refused(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def deny(request: Request) -> Response:
        return answered(request, allowed=False, status={"message": "the crd contains unwanted label"})

    async with hook_server(deny) as hooks:
        rule = {"apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"]}
        selector = {"matchLabels": {"e2e": "deny"}}
        await install("Validating", hook(hooks.client_config(), rule=rule, objectSelector=selector))
        found = definition()
        found["metadata"]["labels"] = {"e2e": "deny"}
        refused = await api.post(DEFINITIONS, found)
    assert refused.message.endswith("the crd contains unwanted label")
