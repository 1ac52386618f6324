"""MutatingAdmissionPolicy: what shall be (apply configurations) or how to get there (JSON patches), said in expressions."""

from typing import Any

import pytest
from admitted_api import AdmittedApi

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
DEPLOYMENT_RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
MAP_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}
POD_RULE = {**MAP_RULE, "operations": ["CREATE"], "resources": ["pods"]}


def deployment(replicas: int = 1) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"metadata": {"name": "d"}, "spec": spec}


def apply(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def policy(*mutations: Any, rule: dict[str, Any] = DEPLOYMENT_RULE, name: str = "p", **more: Any) -> dict[str, Any]:
    spec = {"matchConstraints": {"resourceRules": [rule]}, "mutations": list(mutations), **more}
    return {"metadata": {"name": name}, "spec": spec}


async def in_force(api: AdmittedApi, found: dict[str, Any], **more: Any) -> None:
    name = found["metadata"]["name"]
    await api.made(f"{ADMISSION}/mutatingadmissionpolicies", found)
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, **more}}
    await api.made(f"{ADMISSION}/mutatingadmissionpolicybindings", binding)


async def test_an_apply_configuration_says_what_shall_be(api: AdmittedApi) -> None:
    await in_force(
        api,
        policy(
            apply(
                "Object{spec: Object.spec{replicas: object.spec.replicas % 2 == 0 ? object.spec.replicas + 1 : object.spec.replicas}}"
            )
        ),
    )
    assert (await api.made(DEPLOYMENTS, deployment(2)))["spec"]["replicas"] == 3


async def test_annotations_are_added_beside_those_that_are_there(api: AdmittedApi) -> None:
    made_ = 'Object{metadata: Object.metadata{annotations: {"my-foo-annotation": "myAnnotationValue"}}}'
    await in_force(api, policy(apply(made_)))
    found = deployment()
    found["metadata"]["annotations"] = {"mine": "1"}
    made = await api.made(DEPLOYMENTS, found)
    assert made["metadata"]["annotations"] == {"mine": "1", "my-foo-annotation": "myAnnotationValue"}


async def test_containers_are_merged_by_name_and_defaulted(api: AdmittedApi) -> None:
    sidecar = """Object{spec: Object.spec{initContainers: [
        Object.spec.initContainers{name: "mesh", image: "proxy:v1", restartPolicy: "Always"}
    ], containers: [Object.spec.containers{name: "c", image: "i:" + variables.tag}]}}"""
    variables = [{"name": "tag", "expression": "object.metadata.labels[?'tag'].orValue('latest')"}]
    conditions = [
        {"name": "once", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh')"}
    ]
    await in_force(api, policy(apply(sidecar), rule=POD_RULE, variables=variables, matchConditions=conditions))
    pod = {"metadata": {"name": "p", "labels": {"tag": "7"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = (await api.made(PODS, pod))["spec"]
    (init,) = spec["initContainers"]
    assert (init["image"], init["terminationMessagePolicy"]) == ("proxy:v1", "File")
    assert [container["image"] for container in spec["containers"]] == ["i:7"]


async def test_a_json_patch_says_how_to_get_there(api: AdmittedApi) -> None:
    operations = """[
        JSONPatch{op: "test", path: "/data/color", value: "red"},
        JSONPatch{op: "replace", path: "/data/color", value: "blue"},
        JSONPatch{op: "add", path: "/data/" + jsonpatch.escapeKey("a/b~c"), value: "x"}
    ]"""
    await in_force(api, policy(patch(operations), rule=MAP_RULE, failurePolicy="Ignore"))
    found = {"metadata": {"name": "a"}, "data": {"color": "red"}}
    answer = await api.post(MAPS, found)
    assert answer.status == 422, "a/b~c is no key of a config map, and what a policy makes is validated"
    operations = operations.replace('"a/b~c"', '"b.c"')
    await api.patch(f"{ADMISSION}/mutatingadmissionpolicies/p", {"spec": {"mutations": [patch(operations)]}})
    assert (await api.made(MAPS, found))["data"] == {"color": "blue", "b.c": "x"}


async def test_values_in_a_patch_may_be_objects(api: AdmittedApi) -> None:
    operations = """[JSONPatch{op: "add", path: "/spec/template/spec/volumes",
        value: [Object.spec.template.spec.volumes{name: "tmp", emptyDir: Object.spec.template.spec.volumes.emptyDir{}}]}]"""
    await in_force(api, policy(patch(operations)))
    (volume,) = (await api.made(DEPLOYMENTS, deployment()))["spec"]["template"]["spec"]["volumes"]
    assert volume == {"name": "tmp", "emptyDir": {}}


async def test_each_mutation_sees_what_the_former_made(api: AdmittedApi) -> None:
    first = patch('[JSONPatch{op: "add", path: "/data/a", value: "1"}]')
    second = patch('[JSONPatch{op: "add", path: "/data/b", value: variables.a + "2"}]')
    variables = [{"name": "a", "expression": "object.data[?'a'].orValue('none')"}]
    await in_force(api, policy(first, second, rule=MAP_RULE, variables=variables))
    made = await api.made(MAPS, {"metadata": {"name": "x"}, "data": {"k": "v"}})
    assert made["data"] == {"k": "v", "a": "1", "b": "12"}


async def test_params_parametrise_mutations(api: AdmittedApi) -> None:
    await api.made(MAPS, {"metadata": {"name": "values"}, "data": {"replicas": "4"}})
    change = apply("Object{spec: Object.spec{replicas: int(params.data.replicas)}}")
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    ref = {"name": "values", "parameterNotFoundAction": "Deny"}
    await in_force(api, policy(change, paramKind=kind), paramRef=ref)
    assert (await api.made(DEPLOYMENTS, deployment()))["spec"]["replicas"] == 4


async def test_a_policy_is_asked_again_where_another_changed_what_it_saw(api: AdmittedApi) -> None:
    count = "object.data[?'count'].orValue('') + 'x'"
    again = patch(f'[JSONPatch{{op: "add", path: "/data/count", value: {count}}}]')
    other = patch('[JSONPatch{op: "add", path: "/data/other", value: "1"}]')
    await in_force(api, policy(again, rule=MAP_RULE, name="a", reinvocationPolicy="IfNeeded"))
    await in_force(api, policy(other, rule=MAP_RULE, name="b"))
    made = await api.made(MAPS, {"metadata": {"name": "x"}, "data": {"first": "1"}})
    assert made["data"] == {"first": "1", "count": "xx", "other": "1"}


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (apply('Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {"x": "y"}}}}'), "may not mutate atomic arrays, maps or structs: .spec.selector"),
        (apply("Object{spec: Object.metadata{}}"), 'type mismatch: unexpected type name "Object.metadata", expected "Object.spec"'),
        (apply("Object{spec: Object.spec{replicas: object.nope}}"), "expression 'Object{spec: Object.spec{replicas: object.nope}}' resulted in error: no such key: nope"),
        (apply("Object{spec: Object.spec{replicasx: 1}}"), "failed to convert patch object to typed object: .spec.replicasx: field not declared in schema"),
        (apply('Object{kind: "Secret"}'), "may not change what an object is"),
        (apply('Object{spec: Object.spec{replicas: "many"}}'), "error applying patch"),
        (patch('[JSONPatch{op: "remove", path: "/nope"}]'), "JSON Patch:"),
        (patch('[JSONPatch{op: "test", path: "/kind", value: "Pod"}]'), "JSON Patch:"),
        (patch('[JSONPatch{op: "replace", path: "", value: 1}]'), "may not change what an object is"),
    ],
)  # fmt: skip
async def test_a_mutation_that_cannot_be_made_refuses_the_request(
    api: AdmittedApi, mutation: dict[str, Any], words: str
) -> None:
    await in_force(api, policy(mutation))
    refused = await api.post(DEPLOYMENTS, deployment())
    assert (refused.status, refused.body["reason"]) == (403, "Invalid")
    assert refused.message.startswith("policy 'p' with binding 'p' denied request: ")
    assert words in refused.message
    await api.patch(f"{ADMISSION}/mutatingadmissionpolicies/p", {"spec": {"failurePolicy": "Ignore"}})
    assert (await api.post(DEPLOYMENTS, deployment())).status == 201


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (apply("1"), 'spec.mutations[0].applyConfiguration.expression: Invalid value: "1": must evaluate to Object'),
        (apply("Object{spec: nope}"), "undeclared reference to 'nope'"),
        (apply("Objec{}"), "undeclared reference to 'Objec'"),
        (patch("[1]"), "must evaluate to list(JSONPatch)"),
        (patch('[JSONPatch{nope: "x"}]'), "undefined field 'nope'"),
        (patch("[JSONPatch{op: 1}]"), "expected type of field 'op' is 'string' but provided type is 'int'"),
        ({"patchType": "Strategic"}, 'spec.mutations[0].patchType: Unsupported value: "Strategic"'),
        ({"patchType": "JSONPatch"}, "jsonPatch is required when patchType is JSONPatch"),
    ],
)
async def test_a_broken_mutation_is_refused_when_it_is_written(
    api: AdmittedApi, mutation: dict[str, Any], words: str
) -> None:
    refused = await api.post(f"{ADMISSION}/mutatingadmissionpolicies", policy(mutation))
    assert refused.status == 422 and words in refused.message


async def test_what_values_share_does_not_become_a_million_of_them(api: AdmittedApi) -> None:
    doubled = "[dyn('x')]" + ".map(v, [v, v])" * 40
    expression = f'{doubled}.map(v, JSONPatch{{op: "add", path: "/data/a", value: v}})'
    await in_force(api, policy(patch(expression), rule=MAP_RULE))
    refused = await api.post(MAPS, {"metadata": {"name": "a"}, "data": {}})
    assert refused.status == 403 and "the result is too large" in refused.message


async def test_webhooks_see_what_policies_made(api: AdmittedApi, hook: Any, install: Any) -> None:
    from webhooks import answered, hook_server

    async def allow(request: Any) -> Any:
        return answered(request)

    await in_force(api, policy(patch('[JSONPatch{op: "add", path: "/data/a", value: "1"}]'), rule=MAP_RULE))
    async with hook_server(allow) as hooks:
        await install("Mutating", hook(hooks.client_config()))
        await api.made(MAPS, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert hooks.requests[0]["object"]["data"] == {"k": "v", "a": "1"}


async def test_a_policy_whose_params_nobody_serves_refuses_the_request(api: AdmittedApi) -> None:
    nothing = patch('[JSONPatch{op: "add", path: "/data", value: {"k": "v"}}]')
    kind = {"apiVersion": "example.com/v1", "kind": "Limit"}
    await in_force(
        api, policy(nothing, rule=MAP_RULE, paramKind=kind), paramRef={"name": "x", "parameterNotFoundAction": "Deny"}
    )
    refused = await api.post(MAPS, {"metadata": {"name": "a"}})
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    why = "failed to find resource referenced by paramKind: 'example.com/v1, Kind=Limit'"
    assert refused.message == f'policy "p" denied request: failed to configure policy: {why}'
