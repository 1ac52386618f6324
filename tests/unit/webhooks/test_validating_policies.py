"""ValidatingAdmissionPolicy: rules in the cluster's own objects, and every way a binding can put one into force."""

import asyncio
import threading
from typing import Any

import pytest
from admitted_api import AdmittedApi, Answer
from turns_taken import turns_during

from kybern.apiserver.admission.policies import judging
from kybern.apiserver.request import Attributes, Decision

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MAPS = "/api/v1/namespaces/default/configmaps"
RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}
MAP_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}


def deployment(name: str = "d", replicas: int = 1, **metadata: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"metadata": {"name": name, **metadata}, "spec": spec}


def policy(*validations: Any, rule: dict[str, Any] = RULE, **more: Any) -> dict[str, Any]:
    checks = [{"expression": each} if isinstance(each, str) else each for each in validations]
    constraints = {"resourceRules": [rule], **more.pop("constraints", {})}
    return {"metadata": {"name": "p"}, "spec": {"matchConstraints": constraints, "validations": checks, **more}}


def binding(*actions: str, name: str = "b", **more: Any) -> dict[str, Any]:
    spec = {"policyName": "p", "validationActions": list(actions or ("Deny",)), **more}
    return {"metadata": {"name": name}, "spec": spec}


async def in_force(api: AdmittedApi, policy: dict[str, Any], *bindings: dict[str, Any]) -> None:
    await api.made(f"{ADMISSION}/validatingadmissionpolicies", policy)
    for each in bindings or (binding(),):
        await api.made(f"{ADMISSION}/validatingadmissionpolicybindings", each)


async def test_a_deployment_that_breaks_the_rule_is_refused_in_upstreams_words(api: AdmittedApi) -> None:
    await in_force(api, policy("object.spec.replicas > 1"))
    refused = await api.post(DEPLOYMENTS, deployment(replicas=1))
    assert (refused.status, refused.body["reason"]) == (422, "Invalid")
    told = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas > 1"
    assert refused.message == f'deployments.apps "d" is forbidden: {told}'
    assert refused.body["details"]["causes"] == [{"message": told}]
    assert (await api.post(DEPLOYMENTS, deployment(replicas=2))).status == 201


async def test_without_a_binding_a_policy_is_nobodys_business(api: AdmittedApi) -> None:
    await api.made(f"{ADMISSION}/validatingadmissionpolicies", policy("false"))
    assert (await api.post(DEPLOYMENTS, deployment())).status == 201


async def test_changes_of_policies_and_bindings_count_at_once(api: AdmittedApi) -> None:
    await in_force(api, policy("object.spec.replicas > 1"))
    assert (await api.post(DEPLOYMENTS, deployment())).status == 422
    changed = {"spec": {"validations": [{"expression": "object.spec.replicas > 0"}]}}
    assert (await api.patch(f"{ADMISSION}/validatingadmissionpolicies/p", changed)).status == 200
    assert (await api.post(DEPLOYMENTS, deployment())).status == 201
    assert (await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": 0}})).status == 422
    assert (await api.delete(f"{ADMISSION}/validatingadmissionpolicybindings/b")).status == 200
    assert (await api.patch(f"{DEPLOYMENTS}/d", {"spec": {"replicas": 0}})).status == 200


async def test_expressions_may_refer_to_variables(api: AdmittedApi) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]
    await in_force(api, policy("variables.replicas > 1", "variables.oddReplicas", variables=variables))
    assert (await api.post(DEPLOYMENTS, deployment(replicas=2))).status == 422
    assert (await api.post(DEPLOYMENTS, deployment(replicas=3))).status == 201


@pytest.mark.parametrize(
    ("validation", "message", "code", "reason"),
    [
        ({"expression": "false", "message": "no"}, "no", 422, "Invalid"),
        ({"expression": "false", "message": "no", "reason": "Forbidden"}, "no", 403, "Forbidden"),
        ({"expression": "false", "message": "no", "reason": "Unauthorized"}, "no", 401, "Unauthorized"),
        (
            {"expression": "false", "message": "no", "reason": "RequestEntityTooLarge"},
            "no",
            413,
            "RequestEntityTooLarge",
        ),
        (
            {"expression": "false", "messageExpression": "'has ' + string(object.spec.replicas)"},
            "has 1",
            422,
            "Invalid",
        ),
        ({"expression": "false", "message": "no", "messageExpression": "object.nope"}, "no", 422, "Invalid"),
        ({"expression": "false", "message": "no", "messageExpression": "'a\\nb'"}, "no", 422, "Invalid"),
        ({"expression": "false", "messageExpression": "'  '"}, "failed expression: false", 422, "Invalid"),
    ],
)
async def test_what_a_refusal_says_is_the_rules(
    api: AdmittedApi, validation: dict[str, str], message: str, code: int, reason: str
) -> None:
    await in_force(api, policy(validation))
    refused = await api.post(DEPLOYMENTS, deployment())
    assert (refused.status, refused.body["reason"]) == (code, reason)
    assert refused.message.endswith(f"denied request: {message}")


async def test_actions_warn_audit_and_deny(api: AdmittedApi) -> None:
    await in_force(api, policy("false"), binding("Warn", "Audit"))
    made = await api.post(DEPLOYMENTS, deployment())
    assert made.status == 201
    assert (
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false"
        in made.warnings
    )
    both = await api.post(f"{ADMISSION}/validatingadmissionpolicybindings", binding("Deny", "Warn", name="c"))
    assert both.status == 422 and "must not contain both Deny and Warn" in both.message


async def test_what_a_policy_notes_is_told_to_the_audit_log(api: AdmittedApi) -> None:
    notes = [
        {"key": "size", "valueExpression": "'has ' + string(object.spec.replicas)"},
        {"key": "nothing", "valueExpression": "null"},
    ]
    await in_force(api, policy("false", auditAnnotations=notes), binding("Audit"), binding("Audit", name="c"))
    told = api.audited()
    await api.made(DEPLOYMENTS, deployment())
    assert told["p/size"] == "has 1" and "p/nothing" not in told
    assert told["validation.policy.admission.k8s.io/validation_failure"] == (
        '[{"message":"failed expression: false","policy":"p","binding":"b","expressionIndex":0,"validationActions":["Audit"]},'
        '{"message":"failed expression: false","policy":"p","binding":"c","expressionIndex":0,"validationActions":["Audit"]}]'
    )


@pytest.mark.parametrize(("failure_policy", "status"), [("Fail", 422), ("Ignore", 201)])
async def test_what_cannot_be_evaluated_is_the_failure_policys(
    api: AdmittedApi, failure_policy: str, status: int
) -> None:
    await in_force(api, policy("object.spec.nope > 1", failurePolicy=failure_policy))
    answer = await api.post(DEPLOYMENTS, deployment())
    assert answer.status == status
    if status == 422:
        assert answer.message.endswith("expression 'object.spec.nope > 1' resulted in error: no such key: nope")


async def test_match_conditions_excuse_requests(api: AdmittedApi) -> None:
    conditions = [{"name": "big", "expression": "object.spec.replicas > 5"}]
    await in_force(api, policy("false", matchConditions=conditions))
    assert (await api.post(DEPLOYMENTS, deployment(replicas=5))).status == 201
    assert (await api.post(DEPLOYMENTS, deployment("e", replicas=6))).status == 422


async def test_expressions_know_the_request_the_namespace_and_what_the_user_may(api: AdmittedApi) -> None:
    await in_force(
        api,
        policy(
            "request.operation == 'CREATE' && request.userInfo.username == 'admin' && request.namespace == 'default'",
            "namespaceObject.metadata.labels.name == 'default' && oldObject == null",
            "authorizer.group('apps').resource('deployments').namespace('default').check('create').allowed()",
            "authorizer.requestResource.check('delete').allowed()",
            "!authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('get').allowed()",
            "authorizer.path('/healthz').check('get').allowed()",
        ),
    )
    answer = await api.post(DEPLOYMENTS, deployment())
    assert answer.status == 201, answer.body


# --- params -----------------------------------------------------------------------------------------------------------

PARAMS = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}


def limits(name: str, most: int, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"max": str(most)}}


def bound_to(**ref: Any) -> dict[str, Any]:
    return binding(paramRef={"parameterNotFoundAction": "Deny", **ref})


async def most_five(api: AdmittedApi, *bindings: dict[str, Any]) -> None:
    await in_force(api, policy("object.spec.replicas <= int(params.data.max)", **PARAMS), *bindings)


async def test_params_come_by_name_from_the_requests_namespace(api: AdmittedApi) -> None:
    await api.made(MAPS, limits("limits", 5))
    await most_five(api, bound_to(name="limits"))
    assert (await api.post(DEPLOYMENTS, deployment(replicas=6))).status == 422
    assert (await api.post(DEPLOYMENTS, deployment(replicas=5))).status == 201
    assert (await api.patch(f"{MAPS}/limits", {"data": {"max": "7"}})).status == 200
    assert (await api.post(DEPLOYMENTS, deployment("e", replicas=6))).status == 201


async def test_params_come_by_labels_and_each_counts(api: AdmittedApi) -> None:
    await api.made(MAPS, limits("one", 5, kind="limit"))
    await api.made(MAPS, limits("two", 3, kind="limit"))
    await api.made(MAPS, limits("other", 0))
    await most_five(api, bound_to(selector={"matchLabels": {"kind": "limit"}}))
    assert (await api.post(DEPLOYMENTS, deployment(replicas=4))).status == 422
    assert (await api.post(DEPLOYMENTS, deployment(replicas=3))).status == 201


async def test_params_may_lie_in_a_namespace_of_their_own(api: AdmittedApi) -> None:
    await api.made("/api/v1/namespaces/other/configmaps", limits("limits", 2))
    await most_five(api, bound_to(name="limits", namespace="other"))
    assert (await api.post(DEPLOYMENTS, deployment(replicas=3))).status == 422


@pytest.mark.parametrize(("action", "status"), [("Deny", 422), ("Allow", 201)])
async def test_missing_params_deny_or_excuse_as_the_binding_says(api: AdmittedApi, action: str, status: int) -> None:
    await most_five(api, binding(paramRef={"name": "limits", "parameterNotFoundAction": action}))
    answer = await api.post(DEPLOYMENTS, deployment())
    assert answer.status == status
    if status == 422:
        why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
        assert answer.message.endswith(why)


async def test_params_of_a_kind_that_nobody_serves_are_a_broken_policy(api: AdmittedApi) -> None:
    kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
    await in_force(api, policy("true", paramKind=kind), bound_to(name="x"))
    refused = await api.post(DEPLOYMENTS, deployment())
    assert (
        "failed to configure policy: failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'"
        in refused.message
    )


async def test_without_a_reference_params_are_null(api: AdmittedApi) -> None:
    await in_force(api, policy("params == null", **PARAMS))
    assert (await api.post(DEPLOYMENTS, deployment())).status == 201


# --- who is concerned -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "concerned"),
    [
        ({}, True),
        ({"rule": {**RULE, "resourceNames": ["d"]}}, True),
        ({"rule": {**RULE, "resourceNames": ["e"]}}, False),
        ({"constraints": {"excludeResourceRules": [RULE]}}, False),
        ({"constraints": {"excludeResourceRules": [{**RULE, "resourceNames": ["other"]}]}}, True),
        ({"constraints": {"namespaceSelector": {"matchLabels": {"name": "other"}}}}, False),
        ({"constraints": {"objectSelector": {"matchLabels": {"x": "y"}}}}, False),
        ({"constraints": {"objectSelector": {"matchLabels": {"mine": "1"}}}}, True),
    ],
)
async def test_constraints_say_whom_a_policy_concerns(api: AdmittedApi, more: dict[str, Any], concerned: bool) -> None:
    await in_force(api, policy("false", **more))
    answer = await api.post(DEPLOYMENTS, deployment(labels={"mine": "1"}))
    assert (answer.status == 422) == concerned


@pytest.mark.parametrize(
    ("resources", "concerned"),
    [
        ({"namespaceSelector": {"matchLabels": {"name": "default"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"name": "other"}}}, False),
        ({"resourceRules": [{**RULE, "resourceNames": ["x"]}]}, False),
        ({"excludeResourceRules": [RULE]}, False),
    ],
)
async def test_a_binding_narrows_its_policy(api: AdmittedApi, resources: dict[str, Any], concerned: bool) -> None:
    await in_force(api, policy("false"), binding(matchResources=resources))
    assert ((await api.post(DEPLOYMENTS, deployment())).status == 422) == concerned


async def test_a_deletion_is_judged_by_what_goes(api: AdmittedApi) -> None:
    await api.made(MAPS, {"metadata": {"name": "a"}, "data": {"keep": "yes"}})
    await api.made(MAPS, {"metadata": {"name": "b"}})
    rule = {**MAP_RULE, "operations": ["DELETE"]}
    await in_force(api, policy("object == null && !has(oldObject.data)", rule=rule))
    assert (await api.delete(f"{MAPS}/a")).status == 422
    assert (await api.delete(f"{MAPS}/b")).status == 200


async def test_policies_cannot_lock_themselves_in(api: AdmittedApi) -> None:
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    await in_force(api, policy("false", rule=everything))
    assert (await api.post(MAPS, {"metadata": {"name": "a"}})).status == 422
    assert (await api.delete(f"{ADMISSION}/validatingadmissionpolicies/p")).status == 200
    assert (await api.post(MAPS, {"metadata": {"name": "a"}})).status == 201


# --- what is refused when it is written -------------------------------------------------------------------------------


async def refused_policy(api: AdmittedApi, found: dict[str, Any]) -> Answer:
    answer = await api.post(f"{ADMISSION}/validatingadmissionpolicies", found)
    assert answer.status == 422, answer.body
    return answer


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (policy("objec.x"), "spec.validations[0].expression: Invalid value: \"objec.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'objec'"),
        (policy("1 + 1"), 'spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool'),
        (policy("params.x == 1"), "undeclared reference to 'params'"),
        (policy("request.nope == 1"), "undefined field 'nope'"),
        (policy("variables.nope"), "undefined field 'nope'"),
        (policy(" "), "spec.validations[0].expression: Required value: expression is not specified"),
        (policy({"expression": "true", "messageExpression": "1"}), "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string"),
        (policy({"expression": "true", "messageExpression": "authorizer.path('/x').check('get').reason()"}), "undeclared reference to 'authorizer'"),
        (policy({"expression": "true", "message": "a\nb"}), "message must not contain line breaks"),
        (policy({"expression": "true ||\nfalse"}), "message must be specified if expression contains line breaks"),
        (policy({"expression": "true", "reason": "Nope"}), 'spec.validations[0].reason: Unsupported value: "Nope"'),
        (policy("true", variables=[{"name": "a b", "expression": "1"}]), "name is not a valid CEL identifier"),
        (policy("true", variables=[{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]), "undefined field 'b'"),
        (policy("true", matchConditions=[{"name": "x", "expression": "1"}]), "spec.matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool"),
        (policy("true", auditAnnotations=[{"key": "k", "valueExpression": "1"}]), "must evaluate to one of types [string null]"),
        (policy(), "validations or auditAnnotations must contain at least one item"),
    ],
)  # fmt: skip
async def test_a_broken_policy_is_refused_when_it_is_written(
    api: AdmittedApi, found: dict[str, Any], words: str
) -> None:
    assert words in (await refused_policy(api, found)).message


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"name": "a", "selector": {}}, "name and selector are mutually exclusive"),
        ({}, "one of name or selector must be specified"),
        ({"name": "a", "parameterNotFoundAction": "Maybe"}, 'Unsupported value: "Maybe"'),
    ],
)
async def test_a_broken_binding_is_refused_when_it_is_written(
    api: AdmittedApi, ref: dict[str, Any], words: str
) -> None:
    answer = await api.post(f"{ADMISSION}/validatingadmissionpolicybindings", bound_to(**ref))
    assert answer.status == 422 and words in answer.message


async def test_hostile_policies_stop_at_their_budget(api: AdmittedApi) -> None:
    loops = "object.spec.template.spec.containers.all(a, lists.all(b, lists.all(c, lists.all(d, true))))"
    numbers = "[" + ", ".join(map(str, range(200))) + "]"
    expression = f"[{numbers}].all(lists, {loops})"
    await in_force(api, policy(*[expression] * 20))
    refused = await api.post(DEPLOYMENTS, deployment())
    assert refused.status == 422
    assert "operation cancelled: actual cost limit exceeded" in refused.message


async def test_variables_count_into_the_budget_of_their_policy(api: AdmittedApi) -> None:
    numbers = "[" + ", ".join(map(str, range(90))) + "]"
    variables = [
        {"name": f"v{n}", "expression": f"[{numbers}].all(x, x.all(a, x.all(b, x.all(c, true))))"} for n in range(20)
    ]
    checks = [f"variables.v{n}" for n in range(20)]
    await in_force(api, policy(*checks, failurePolicy="Fail", variables=variables))
    refused = await api.post(DEPLOYMENTS, deployment())
    assert refused.status == 422


# --- in others' way ---------------------------------------------------------------------------------------------------


def long_policy(*more: str) -> dict[str, Any]:
    """Dearer than may be evaluated at once, and cheaper than a call may be."""
    variables = [{"name": "range", "expression": "object.data.list.split('')"}]
    expression = "variables.range.all(a, variables.range.all(b, a + b != ''))"
    return policy(expression, *more, rule=MAP_RULE, variables=variables)


LONG_MAP = {"metadata": {"name": "long"}, "data": {"list": "x" * 100}}


async def test_a_policy_that_takes_long_is_judged_while_others_go_on(
    api: AdmittedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by: list[int] = []
    original = judging.judgement_of

    def noting(found: Any, evaluation: Any) -> Any:
        judged_by.append(threading.get_ident())
        return original(found, evaluation)

    monkeypatch.setattr(judging, "judgement_of", noting)
    await in_force(api, long_policy("object.metadata.name != 'long'"))
    answer = await api.post(MAPS, LONG_MAP)
    assert (answer.status, answer.message.count("failed expression")) == (422, 1)
    here, aside = judged_by
    assert here == threading.get_ident() != aside
    judged_by.clear()
    assert (await api.post(MAPS, {"metadata": {"name": "short"}, "data": {"list": "xx"}})).status == 201
    assert judged_by == [here]


async def test_others_have_their_turn_between_policies(api: AdmittedApi) -> None:
    bindings = [binding(name=f"b{index}") for index in range(50)]
    await in_force(api, policy("object.metadata.name != 'x'", rule=MAP_RULE), *bindings)
    turns, answer = await turns_during(api.post(MAPS, {"metadata": {"name": "a"}}))
    assert answer.status == 201
    assert turns >= len(bindings)


async def test_what_the_authorizer_has_to_say_is_asked_on_the_loop(api: AdmittedApi) -> None:
    """Also of an expression that is evaluated aside, and of an authorizer who asks another server."""
    asked: list[tuple[int, str]] = []

    class Elsewhere:
        async def ask(self, attributes: Attributes) -> Decision:
            await asyncio.sleep(0)
            asked.append((threading.get_ident(), attributes.name))
            return Decision(attributes.name == "mine")

    api.inputs.authorizer.use((Elsewhere(),))  # type: ignore[attr-defined]
    check = "authorizer.group('').resource('secrets').namespace('default').name('{}').check('get').allowed()"
    await in_force(api, long_policy(check.format("mine"), f"!{check.format('theirs')}"))
    answer = await api.post(MAPS, LONG_MAP)
    assert answer.status == 201, answer.body
    assert asked == [(threading.get_ident(), "mine"), (threading.get_ident(), "theirs")]
