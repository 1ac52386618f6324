"""Admission webhooks, asked over real HTTPS: who is asked about what, in which order, and what becomes of the answers."""

import asyncio
import json
import threading
from typing import Any

import pytest
from admitted_api import AdmittedApi
from prometheus_client import CollectorRegistry
from webhooks import answered, hook_server, never, patched, review_of

from kybern.apiserver.admission.matching import versioned
from kybern.apiserver.admission.webhooks import mutating
from kybern.apiserver.audit.audit import annotations_at
from kybern.apiserver.audit.policy import Level
from kybern.web.http import Request, Response

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
HOOKS = "/apis/admissionregistration.k8s.io/v1"


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data or {"k": "v"}}


def pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def adds(key: str, value: Any = "yes") -> dict[str, Any]:
    return {"op": "add", "path": f"/data/{key}", "value": value}


async def allow(request: Request) -> Response:
    return answered(request)


async def by_path(request: Request) -> Response:
    """Does what its path says: `/add/key`, `/deny/words`, `/ifmissing/key`."""
    _, verb, *rest = request.path.split("/")
    if verb == "add":
        return patched(
            request, adds(rest[0], review_of(request)["request"]["object"]["data"].get("order", "") + rest[0])
        )
    if verb == "order":
        seen = review_of(request)["request"]["object"]["data"].get("order", "")
        return patched(request, adds("order", seen + rest[0]))
    if verb == "ifmissing":
        there = rest[0] in review_of(request)["request"]["object"]["data"]
        return answered(request) if there else patched(request, adds(rest[0]))
    if verb == "deny":
        return answered(request, allowed=False, status={"message": rest[0]})
    return answered(request)


async def test_a_mutating_webhook_changes_what_is_stored(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        await install("Mutating", hook(hooks.client_config("/add/extra")))
        made = await api.made(MAPS, config_map())
    assert made["data"] == {"k": "v", "extra": "extra"}
    assert (await api.get(f"{MAPS}/a")).body["data"] == {"k": "v", "extra": "extra"}


async def test_the_question_tells_everything_about_the_request(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config()))
        await api.made(MAPS, config_map())
        await api.patch(f"{MAPS}/a", {"data": {"k": "w"}})
        await api.delete(f"{MAPS}/a?gracePeriodSeconds=3")
    created, changed, deleted = hooks.requests
    assert hooks.reviews[0]["apiVersion"] == "admission.k8s.io/v1"
    core = {"group": "", "version": "v1"}
    assert {key: created[key] for key in ("kind", "resource", "requestKind", "name", "namespace", "operation")} == {
        "kind": {**core, "kind": "ConfigMap"}, "resource": {**core, "resource": "configmaps"},
        "requestKind": {**core, "kind": "ConfigMap"}, "name": "a", "namespace": "default", "operation": "CREATE",
    }  # fmt: skip
    assert created["userInfo"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert (created["object"]["data"], created["oldObject"], created["dryRun"]) == ({"k": "v"}, None, False)
    assert created["object"]["kind"] == "ConfigMap" and created["options"]["kind"] == "CreateOptions"
    assert (changed["operation"], changed["oldObject"]["data"], changed["object"]["data"]) == (
        "UPDATE",
        {"k": "v"},
        {"k": "w"},
    )
    assert (deleted["operation"], deleted["object"], deleted["oldObject"]["data"]) == ("DELETE", None, {"k": "w"})
    assert deleted["options"] == {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "gracePeriodSeconds": 3}
    assert len({request["uid"] for request in hooks.requests}) == 3


async def test_what_a_webhook_adds_is_defaulted_and_pruned(api: AdmittedApi, hook: Any, install: Any) -> None:
    container = {"name": "webhook-added-init-container", "image": "i", "nonsense": 1}
    added = {"op": "add", "path": "/spec/initContainers", "value": [container]}

    async def add(request: Request) -> Response:
        return patched(request, added)

    async with hook_server(add) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule={"resources": ["pods"], "operations": ["CREATE"]}))
        made = await api.made(PODS, pod())
    (init,) = made["spec"]["initContainers"]
    assert (init["name"], init["terminationMessagePolicy"]) == ("webhook-added-init-container", "File")
    assert "nonsense" not in init


async def test_what_a_webhook_makes_is_validated(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def spoil(request: Request) -> Response:
        return patched(request, {"op": "replace", "path": "/spec/containers/0/name", "value": "No Name"})

    async with hook_server(spoil) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule={"resources": ["pods"]}))
        refused = await api.post(PODS, pod())
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    assert 'spec.containers[0].name: Invalid value: "No Name"' in refused.message


async def test_webhooks_are_asked_by_their_configurations_names_and_then_in_order(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    async with hook_server(by_path) as hooks:
        third = hook(hooks.client_config("/order/3"), name="c.example.com")
        await install("Mutating", third, name="b")
        first, second = (hook(hooks.client_config(f"/order/{n}"), name=f"h{n}.example.com") for n in (1, 2))
        await install("Mutating", first, second, name="a")
        made = await api.made(MAPS, config_map())
    assert made["data"]["order"] == "123"


async def test_a_webhook_is_asked_again_where_another_changed_what_it_saw(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    async with hook_server(by_path) as hooks:
        again = hook(hooks.client_config("/ifmissing/one"), name="again.example.com", reinvocationPolicy="IfNeeded")
        once = hook(hooks.client_config("/ifmissing/never"), name="once.example.com", reinvocationPolicy="Never")
        last = hook(hooks.client_config("/ifmissing/two"), name="last.example.com", reinvocationPolicy="IfNeeded")
        await install("Mutating", again, once, last)
        await api.made(MAPS, config_map())
    asked = [request.path for request in hooks.seen]
    assert asked == ["/ifmissing/one", "/ifmissing/never", "/ifmissing/two", "/ifmissing/one"]


async def test_nobody_is_asked_again_where_nothing_was_changed(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(allow) as hooks:
        await install("Mutating", hook(hooks.client_config(), reinvocationPolicy="IfNeeded"))
        await api.made(MAPS, config_map())
    assert len(hooks.seen) == 1


async def test_a_denial_is_told_with_who_denied(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        await install("Validating", hook(hooks.client_config("/deny/no-such-luck")))
        refused = await api.post(MAPS, config_map())
        assert (await api.get(f"{MAPS}/a")).status == 404
    assert refused.status == 400
    assert refused.message == 'admission webhook "hook.example.com" denied the request: no-such-luck'


async def test_a_denial_keeps_the_code_and_reason_of_the_webhook(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def deny(request: Request) -> Response:
        return answered(request, allowed=False, status={"code": 418, "reason": "Teapot"})

    async def silent(request: Request) -> Response:
        return answered(request, allowed=False)

    async with hook_server(deny) as hooks, hook_server(silent) as others:
        await install("Validating", hook(hooks.client_config()))
        refused = await api.post(MAPS, config_map())
        assert (refused.status, refused.body["reason"]) == (418, "Teapot")
        assert refused.message == 'admission webhook "hook.example.com" denied the request: Teapot'
        await api.delete(f"{HOOKS}/validatingwebhookconfigurations/hooks")
        await install("Validating", hook(others.client_config()))
        refused = await api.post(MAPS, config_map())
    assert refused.message == 'admission webhook "hook.example.com" denied the request without explanation'


@pytest.mark.parametrize("code", [0, 200, 302, 399, 600, 99999, -1])
async def test_a_denial_is_never_told_as_anything_else(api: AdmittedApi, hook: Any, install: Any, code: int) -> None:
    async def deny(request: Request) -> Response:
        return answered(request, allowed=False, status={"code": code, "status": "Success"})

    async with hook_server(deny) as hooks:
        await install("Validating", hook(hooks.client_config()))
        refused = await api.post(MAPS, config_map())
    assert (refused.status, refused.body["code"], refused.body["status"]) == (400, 400, "Failure")


async def test_all_who_deny_are_heard(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        one, other = (hook(hooks.client_config(f"/deny/{n}"), name=f"{n}.example.com") for n in ("one", "other"))
        await install("Validating", one, other)
        refused = await api.post(MAPS, config_map())
    assert refused.message == (
        '[admission webhook "one.example.com" denied the request: one, '
        'admission webhook "other.example.com" denied the request: other]'
    )


@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        ({}, True),
        ({"operations": ["UPDATE"]}, False),
        ({"operations": ["*"]}, True),
        ({"apiGroups": ["apps"]}, False),
        ({"apiVersions": ["v2"]}, False),
        ({"resources": ["*"]}, True),
        ({"resources": ["*/*"]}, True),
        ({"resources": ["configmaps/status"]}, False),
        ({"resources": ["configmaps/*"]}, True),
        ({"resources": ["*/scale"]}, False),
        ({"scope": "Namespaced"}, True),
        ({"scope": "Cluster"}, False),
    ],
)
async def test_rules_say_what_a_webhook_is_asked_about(
    api: AdmittedApi, hook: Any, install: Any, rule: dict[str, Any], asked: bool
) -> None:
    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config(), rule=rule))
        await api.made(MAPS, config_map())
    assert bool(hooks.seen) == asked


async def test_namespaces_and_objects_are_chosen_by_labels(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(allow) as hooks:
        here = {"matchLabels": {"name": "default"}}
        await install(
            "Validating",
            hook(hooks.client_config("/namespace"), name="a.example.com", namespaceSelector=here),
            hook(hooks.client_config("/object"), name="b.example.com", objectSelector={"matchLabels": {"x": "y"}}),
        )
        await api.made(MAPS, config_map())
        await api.made("/api/v1/namespaces/other/configmaps", config_map())
        assert [request.path for request in hooks.seen] == ["/namespace"]
        await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"x": "y"}}})
        await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"x": None}}})
        await api.patch(f"{MAPS}/a", {"metadata": {"labels": {"z": "1"}}})
    paths = [request.path for request in hooks.seen]
    assert paths.count("/object") == 2, "the label that comes, and the label that goes"


async def test_a_namespace_is_chosen_by_its_own_labels(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        selector = {"matchLabels": {"guarded": "yes"}}
        rule = {"resources": ["namespaces"]}
        await install("Validating", hook(hooks.client_config("/deny/x"), rule=rule, namespaceSelector=selector))
        assert (await api.post("/api/v1/namespaces", {"metadata": {"name": "free"}})).status == 201
        refused = await api.post("/api/v1/namespaces", {"metadata": {"name": "no", "labels": {"guarded": "yes"}}})
    assert refused.status == 400


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", True), ("Exact", False)])
async def test_an_equivalent_version_is_shown_in_the_version_that_the_rule_names(
    api: AdmittedApi, hook: Any, install: Any, policy: str, asked: bool
) -> None:
    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"]}
    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config(), rule=rule, matchPolicy=policy))
        scaler = {
            "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 3,
                     "targetCPUUtilizationPercentage": 50},
        }  # fmt: skip
        await api.made("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", scaler)
    assert bool(hooks.seen) == asked
    if asked:
        (request,) = hooks.requests
        assert request["kind"]["version"] == request["resource"]["version"] == "v2"
        assert request["requestKind"]["version"] == request["requestResource"]["version"] == "v1"
        assert request["object"]["apiVersion"] == "autoscaling/v2"
        assert request["object"]["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50


async def test_what_is_changed_in_another_version_is_stored_in_ones_own(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    async def raise_(request: Request) -> Response:
        return patched(request, {"op": "replace", "path": "/spec/maxReplicas", "value": 9})

    rule = {"apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["horizontalpodautoscalers"]}
    async with hook_server(raise_) as hooks:
        await install("Mutating", hook(hooks.client_config(), rule=rule))
        scaler = {
            "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"}, "maxReplicas": 3},
        }
        made = await api.made("/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", scaler)
    assert (made["apiVersion"], made["spec"]["maxReplicas"]) == ("autoscaling/v1", 9)


async def test_match_conditions_excuse_requests(api: AdmittedApi, hook: Any, install: Any) -> None:
    conditions = [
        {"name": "not-me", "expression": "object.metadata.name != 'skip-me'"},
        {"name": "by-people", "expression": "!request.userInfo.username.startsWith('system:')"},
        {"name": "may-write", "expression": "authorizer.requestResource.check('create').allowed()"},
    ]
    async with hook_server(by_path) as hooks:
        await install("Mutating", hook(hooks.client_config("/add/x"), matchConditions=conditions))
        assert "x" not in (await api.made(MAPS, config_map("skip-me")))["data"]
        assert "x" in (await api.made(MAPS, config_map("other")))["data"]


@pytest.mark.parametrize(("policy", "status"), [("Fail", 403), ("Ignore", 201)])
async def test_a_match_condition_that_fails_is_the_failure_policys(
    api: AdmittedApi, hook: Any, install: Any, policy: str, status: int
) -> None:
    conditions = [{"name": "c", "expression": "object.nope == 1"}]
    async with hook_server(allow) as hooks:
        config = hook(hooks.client_config(), matchConditions=conditions, failurePolicy=policy)
        await install("Validating", config)
        answer = await api.post(MAPS, config_map())
    assert (answer.status, hooks.seen) == (status, [])
    if status == 403:
        assert "expression 'object.nope == 1' resulted in error: no such key: nope" in answer.message


async def test_match_conditions_are_compiled_when_they_are_written(api: AdmittedApi, hook: Any, install: Any) -> None:
    conditions = [
        {"name": "a b", "expression": "true"},
        {"name": "x", "expression": "objec.x == 1"},
        {"name": "x", "expression": "1 + 1"},
        {"name": "", "expression": ""},
    ]
    for kind in ("Mutating", "Validating"):
        refused = await install(kind, hook({"url": "https://h/"}, matchConditions=conditions))
        assert refused.status == 422
        assert (
            'webhooks[0].matchConditions[1].expression: Invalid value: "objec.x == 1": compilation failed: ERROR:'
            in refused.message
        )
        assert "undeclared reference to 'objec' (in container '')" in refused.message
        assert 'matchConditions[2].expression: Invalid value: "1 + 1": must evaluate to bool' in refused.message
        assert 'matchConditions[2].name: Duplicate value: "x"' in refused.message
        assert "matchConditions[3].expression: Required value" in refused.message
        assert 'matchConditions[0].name: Invalid value: "a b"' in refused.message


async def test_match_conditions_are_kept_as_written_and_replaced(api: AdmittedApi, hook: Any, install: Any) -> None:
    conditions = [{"name": "a", "expression": "true"}]
    made = await install("Mutating", hook({"url": "https://h/"}, matchConditions=conditions))
    assert made.body["webhooks"][0]["matchConditions"] == conditions
    changed = [{"op": "replace", "path": "/webhooks/0/matchConditions/0/name", "value": "b"}]
    answer = await api.patch(f"{HOOKS}/mutatingwebhookconfigurations/hooks", changed, "json")
    assert answer.body["webhooks"][0]["matchConditions"] == [{"name": "b", "expression": "true"}]


async def test_a_slow_webhook_is_a_failure_in_upstreams_words(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(never) as hooks:
        await install("Mutating", hook(hooks.client_config("/slow"), timeoutSeconds=1))
        refused = await api.post(MAPS, config_map())
    assert refused.status == 500
    assert refused.message == (
        'Internal error occurred: failed calling webhook "hook.example.com": failed to call webhook: '
        f'Post "https://127.0.0.1:{hooks.port}/slow?timeout=1s": context deadline exceeded'
    )


async def test_a_timeout_is_honoured_and_long_enough_where_none_is_given(
    api: AdmittedApi, hook: Any, install: Any
) -> None:
    """Slow by a second and a half: too slow for one second, fast enough for two, and for the default of ten."""

    async def slow(request: Request) -> Response:
        await asyncio.sleep(1.5)
        return answered(request)

    async with hook_server(slow) as hooks:
        config = hook(hooks.client_config(), timeoutSeconds=1)
        assert (await install("Validating", config)).status == 201
        assert "context deadline exceeded" in (await api.post(MAPS, config_map())).message
        at = f"{HOOKS}/validatingwebhookconfigurations/hooks"

        async def changed(**fields: Any) -> None:
            operations = [{"op": "add", "path": f"/webhooks/0/{key}", "value": value} for key, value in fields.items()]
            assert (await api.patch(at, operations, "json")).status == 200

        await changed(failurePolicy="Ignore")
        assert (await api.post(MAPS, config_map("ignored"))).status == 201
        await changed(failurePolicy="Fail", timeoutSeconds=2)
        assert (await api.post(MAPS, config_map("patient"))).status == 201
        default = [{"op": "remove", "path": "/webhooks/0/timeoutSeconds"}]
        assert (await api.patch(at, default, "json")).body["webhooks"][0]["timeoutSeconds"] == 10
        assert (await api.post(MAPS, config_map("default"))).status == 201


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
@pytest.mark.parametrize(("policy", "status"), [("Fail", 500), ("Ignore", 201)])
async def test_nobody_there_is_the_failure_policys(
    api: AdmittedApi, hook: Any, install: Any, kind: str, policy: str, status: int
) -> None:
    await install(kind, hook({"url": "https://127.0.0.1:1/"}, failurePolicy=policy))
    assert (await api.post(MAPS, config_map())).status == status


async def test_changes_of_a_configuration_count_at_once(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        await install("Validating", hook(hooks.client_config("/deny/x")))
        assert (await api.post(MAPS, config_map())).status == 400
        at = f"{HOOKS}/validatingwebhookconfigurations/hooks"
        rules = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["UPDATE"]}]
        assert (await api.patch(at, rules, "json")).status == 200
        assert (await api.post(MAPS, config_map())).status == 201
        assert (await api.patch(f"{MAPS}/a", {"data": {"k": "2"}})).status == 400
        assert (await api.delete(at)).status == 200
        assert (await api.patch(f"{MAPS}/a", {"data": {"k": "2"}})).status == 200


@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
async def test_ten_configurations_count_until_they_are_deleted_by_their_label(
    api: AdmittedApi, hook: Any, kind: str
) -> None:
    at = f"{HOOKS}/{kind.lower()}webhookconfigurations"
    path = "/add/extra" if kind == "Mutating" else "/deny/no"
    async with hook_server(by_path) as hooks:
        for number in range(10):
            meta = {"name": f"hooks-{number}", "labels": {"batch": "ten"}}
            await api.made(at, {"metadata": meta, "webhooks": [hook(hooks.client_config(path))]})
        assert len((await api.get(f"{at}?labelSelector=batch%3Dten")).body["items"]) == 10
        tried = await api.post(MAPS, config_map("during"))
        counted = tried.body["data"].get("extra") if kind == "Mutating" else tried.message[-2:]
        assert counted == ("extra" if kind == "Mutating" else "no")
        assert (await api.delete(f"{at}?labelSelector=batch%3Dten")).status == 200
        assert (await api.get(at)).body["items"] == []
        assert (await api.made(MAPS, config_map("after")))["data"] == {"k": "v"}


async def test_a_dry_run_is_told_as_one(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config(), sideEffects="NoneOnDryRun"))
        assert (await api.post(f"{MAPS}?dryRun=All", config_map())).status == 201
    (request,) = hooks.requests
    assert request["dryRun"] is True and request["options"]["dryRun"] == ["All"]


async def test_warnings_reach_the_client_and_annotations_the_audit(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def warn(request: Request) -> Response:
        return answered(request, warnings=["beware", "x" * 400], auditAnnotations={"why": "because"})

    async with hook_server(warn) as hooks:
        await install("Validating", hook(hooks.client_config()))
        made = await api.post(MAPS, config_map())
    assert '299 - "beware"' in made.warnings
    assert "x" * 256 in made.warnings and "x" * 257 not in made.warnings


async def test_what_webhooks_did_is_told_to_the_audit_log(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def note(request: Request) -> Response:
        return answered(request, auditAnnotations={"why": "because"})

    async with hook_server(note) as hooks, hook_server(by_path) as others:
        nobody = hook({"url": "https://127.0.0.1:1/"}, name="gone.example.com", failurePolicy="Ignore")
        change = hook(others.client_config("/ifmissing/x"), name="change.example.com")
        await install("Mutating", change, nobody)
        await install("Validating", hook(hooks.client_config()), nobody)
        told = api.audited()
        await api.made(MAPS, config_map())
    changed = '{"configuration":"hooks","webhook":"change.example.com","mutated":true}'
    assert told["mutation.webhook.admission.k8s.io/round_0_index_0"] == changed
    assert told["failed-open.mutation.webhook.admission.k8s.io/round_0_index_1"] == "gone.example.com"
    assert told["failed-open.validating.webhook.admission.k8s.io/round_0_index_1"] == "gone.example.com"
    assert told["hook.example.com/why"] == "because"
    patch = json.loads(told["patch.webhook.admission.k8s.io/round_0_index_0"])
    assert (patch["webhook"], patch["patchType"], patch["patch"][0]["op"]) == ("change.example.com", "JSONPatch", "add")
    assert "patch.webhook.admission.k8s.io/round_0_index_1" not in told
    assert set(annotations_at(Level.REQUEST, told)) - set(annotations_at(Level.METADATA, told)) == {
        "patch.webhook.admission.k8s.io/round_0_index_0"
    }


async def test_what_webhooks_are_asked_is_counted(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        gone = {"url": "https://127.0.0.1:1/"}
        await install("Mutating", hook(hooks.client_config("/ifmissing/x"), name="change.example.com"))
        await install(
            "Validating",
            hook(gone, name="open.example.com", failurePolicy="Ignore"),
            hook(hooks.client_config("/deny/words"), name="no.example.com"),
            hook(gone, name="closed.example.com"),
        )
        refused = await api.post(MAPS, config_map())
    assert refused.status >= 400
    registry = CollectorRegistry()
    registry.register(api.inputs.webhook_metrics)  # type: ignore[arg-type]

    def count(name: str, hook: str, **labels: str) -> float | None:
        labels = {"name": f"{hook}.example.com", "type": "validating", **labels}
        return registry.get_sample_value(f"apiserver_admission_webhook_{name}", labels)

    create = {"operation": "CREATE"}
    assert count("request_total", "change", type="admit", code="200", rejected="false", **create) == 1
    assert count("request_total", "open", code="600", rejected="false", **create) == 1
    assert count("fail_open_count_total", "open") == 1
    assert count("rejection_count_total", "no", error_type="no_error", rejection_code="400", **create) == 1
    assert (
        count("rejection_count_total", "closed", error_type="calling_webhook_error", rejection_code="0", **create) == 1
    )
    assert count("admission_duration_seconds_count", "no", rejected="true", **create) == 1


async def test_webhooks_are_not_asked_about_webhooks(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        everything = {"resources": ["*/*"]}
        await install("Mutating", hook(hooks.client_config("/deny/x"), rule=everything), name="m")
        await install("Validating", hook(hooks.client_config("/deny/x"), rule=everything), name="v")
        made = await install("Validating", hook({"url": "https://h/"}), name="another")
        assert made.status == 201 and made.body["webhooks"][0]["clientConfig"] == {"url": "https://h/"}
        for kind, name in (("mutating", "m"), ("validating", "v"), ("validating", "another")):
            assert (await api.delete(f"{HOOKS}/{kind}webhookconfigurations/{name}")).status == 200
    assert hooks.seen == []


async def test_attaching_can_be_denied(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        rule = {"operations": ["CONNECT"], "resources": ["pods/attach"]}
        await install("Validating", hook(hooks.client_config("/deny/attaching-to-pod"), rule=rule))
        await api.made(PODS, pod())
        refused = await api.post(f"{PODS}/p/attach?container=c&stdin=true", None)
        assert (await api.post(f"{PODS}/p/exec?command=ls", None)).status == 200
    assert refused.message.endswith("denied the request: attaching-to-pod")
    (request,) = hooks.requests
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodAttachOptions"}
    assert (request["operation"], request["subResource"], request["name"]) == ("CONNECT", "attach", "p")
    assert request["object"] == {"kind": "PodAttachOptions", "apiVersion": "v1", "container": "c", "stdin": True}


async def test_a_webhook_is_told_which_ports_are_forwarded(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        rule = {"operations": ["CONNECT"], "resources": ["pods/portforward"]}
        await install("Validating", hook(hooks.client_config("/deny/forwarding"), rule=rule))
        await api.made(PODS, pod())
        refused = await api.post(f"{PODS}/p/portforward?ports=80,0443&ports=65535", None)
        unread = [await api.post(f"{PODS}/p/portforward?ports={text}", None) for text in ("http", "9" * 5000)]
    assert refused.message.endswith("denied the request: forwarding")
    (request,) = hooks.requests
    assert request["object"] == {"kind": "PodPortForwardOptions", "apiVersion": "v1", "ports": [80, 443, 65535]}
    why = "cannot convert to []int32: strconv.ParseUint: parsing "
    assert [(answer.status, answer.message) for answer in unread] == [
        (400, f'{why}"http": invalid syntax'),
        (400, f'{why}"{"9" * 5000}": value out of range'),
    ]


async def test_each_object_of_a_collection_is_asked_about(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        await api.made(MAPS, config_map("a"))
        await api.made(MAPS, config_map("b"))
        selector = {"matchLabels": {"keep": "me"}}
        config = hook(hooks.client_config("/deny/no"), rule={"operations": ["DELETE"]}, objectSelector=selector)
        await install("Validating", config)
        await api.patch(f"{MAPS}/b", {"metadata": {"labels": {"keep": "me"}}})
        assert (await api.delete(MAPS)).status == 400
        assert (await api.get(f"{MAPS}/b")).status == 200
    assert [request["name"] for request in hooks.requests] == ["b"]


async def test_a_scale_is_shown_and_changed_as_one(api: AdmittedApi, hook: Any, install: Any) -> None:
    async def cap(request: Request) -> Response:
        return patched(request, {"op": "replace", "path": "/spec/replicas", "value": 3})

    deployments = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with hook_server(cap) as hooks:
        rule = {"apiGroups": ["apps"], "resources": ["deployments/scale"]}
        await install("Mutating", hook(hooks.client_config(), rule=rule))
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        await api.made(deployments, {"metadata": {"name": "d"}, "spec": spec})
        answer = await api.patch(f"{deployments}/d/scale", {"spec": {"replicas": 50}})
    assert answer.body["spec"]["replicas"] == 3
    (request,) = hooks.requests
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (request["object"]["spec"], request["oldObject"]["spec"]) == ({"replicas": 50}, {"replicas": 1})


async def test_a_binding_is_shown_as_one(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(allow) as hooks:
        await install("Validating", hook(hooks.client_config(), rule={"resources": ["pods/binding"]}))
        await api.made(PODS, pod())
        await api.made(f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}})
    (request,) = hooks.requests
    assert (request["operation"], request["kind"]["kind"]) == ("CREATE", "Binding")
    assert (request["object"]["target"]["name"], request["oldObject"]) == ("n", None)


async def test_the_older_review_version_is_spoken_too(api: AdmittedApi, hook: Any, install: Any) -> None:
    async with hook_server(by_path) as hooks:
        await install("Mutating", hook(hooks.client_config("/add/x"), admissionReviewVersions=["v9", "v1beta1"]))
        assert "x" in (await api.made(MAPS, config_map()))["data"]
    assert hooks.reviews[0]["apiVersion"] == "admission.k8s.io/v1beta1"


@pytest.mark.parametrize(("letters", "is_beside"), [(10, False), (100_000, True)])
async def test_large_objects_are_shown_and_changed_beside_the_loop(
    api: AdmittedApi, install: Any, hook: Any, letters: int, is_beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def noting(work: Any) -> Any:
        return lambda *args: (threads.append(threading.get_ident() != here), work(*args))[1]

    here = threading.get_ident()
    for where, name in ((versioned, "to_builtins"), (versioned, "decode_value"), (mutating, "apply_json_patch")):
        monkeypatch.setattr(where, name, noting(getattr(where, name)))

    async def answer(request: Request) -> Response:
        return patched(request, {"op": "add", "path": "/data/b", "value": "x"})

    async with hook_server(answer) as hooks:
        await install("Mutating", hook(hooks.client_config()))
        answered_ = await api.post(MAPS, {"metadata": {"name": "a"}, "data": {"a": "x" * letters}})
    assert (answered_.status, answered_.body["data"]["b"]) == (201, "x")
    assert len(threads) >= 4 and set(threads) == {is_beside}
