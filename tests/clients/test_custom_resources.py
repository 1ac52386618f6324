"""kubectl, new and old, with a custom kind: what upstream's conformance tests of CRDs, OpenAPI publishing and field
validation do with it, against a real API server."""

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from custom_kinds import SCHEMA, definition, version
from old_kubectl import fetched
from served_api import Served, served_api

pytestmark = pytest.mark.clients

Kubectl = Callable[..., Awaitable[str]]
TEXT = {"type": "string", "maxLength": 40}
JUDGED = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["version", "size", "range", "address", "replicas", "host"],
            "properties": {
                **dict.fromkeys(("version", "size", "range", "address", "host"), TEXT),
                "replicas": {"type": "integer"}, "max": {"type": "integer", "default": 3},
                "zones": {"type": "array", "maxItems": 5, "items": TEXT},
                "note": {**TEXT, "nullable": True},
            },
            "x-kubernetes-validations": [
                {"rule": "self.replicas <= self.max", "reason": "FieldValueForbidden", "fieldPath": ".replicas",
                 "message": "at most what is allowed"},
                {"rule": "!oldSelf.hasValue() || !semver(self.version).isLessThan(semver(oldSelf.value().version))",
                 "optionalOldSelf": True, "message": "versions only go up"},
                {"rule": "oldSelf.size == self.size", "message": "a size is for ever"},
                {"rule": "quantity(self.size).isGreaterThan(quantity('1Gi'))", "message": "more than a gibibyte"},
                {"rule": "cidr(self.range).containsIP(ip(self.address))", "messageExpression": "self.address + ' is not in ' + self.range"},
                {"rule": "!format.dns1123Label().validate(self.host).hasValue() && isURL('https://' + self.host)",
                 "message": "a label"},
                {"rule": "self.?zones.orValue([]).distinct().sort() == self.?zones.orValue([])",
                 "messageExpression": "'%d zones in order: %s'.format([self.zones.size(), self.zones.sort()])"},
                {"rule": "!has(self.note)", "message": "no notes"},
            ],
        }
    },
}  # fmt: skip
SOUND = {"version": "1.2.3", "size": "2Gi", "range": "10.0.0.0/8", "address": "10.1.2.3", "replicas": 1, "host": "a"}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
COLUMNS = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
RULE = {"rule": "self.size != 9", "message": "nine is too many"}


def widgets() -> dict[str, Any]:
    schema = json.loads(json.dumps(SCHEMA))
    schema["description"] = "A widget, for tests"
    schema["properties"]["spec"]["x-kubernetes-validations"] = [RULE]
    schema["properties"]["spec"]["properties"]["size"]["description"] = "How large it is"
    made = version(schema=schema, subresources={"status": {}, "scale": SCALE}, additionalPrinterColumns=COLUMNS)
    return definition("widgets", "Widget", made, names={"shortNames": ["wd"], "categories": ["all"]})


def widget(**spec: Any) -> str:
    ports = [{"name": "web", "port": 80, "protocol": "TCP"}]
    return json.dumps({
        "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"},
        "spec": {"size": 3, "replicas": 2, "ports": ports, **spec},
    })  # fmt: skip


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with served_api(tmp_path) as found:
        yield found


@pytest_asyncio.fixture(params=["new", "old"])
async def kubectl(request: pytest.FixtureRequest, served: Served) -> Kubectl:
    program = Path(shutil.which("kubectl") or "") if request.param == "new" else fetched()
    if not program.is_file():
        pytest.skip("there is no kubectl; install it with: apt-get install -y kubernetes-client")

    async def run(*args: str, stdin: str = "", check: bool = True) -> str:
        return await served.run(program, *args, stdin=stdin, check=check)

    await run("apply", "-f", "-", stdin=json.dumps(widgets()))
    await run("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
    return run


async def test_objects_are_applied_shown_changed_and_deleted(kubectl: Kubectl) -> None:
    assert "widget.example.com/a created" in await kubectl("apply", "-f", "-", stdin=widget())
    head, row = (await kubectl("get", "wd")).splitlines()
    assert (head.split(), row.split()) == (["NAME", "SIZE"], ["a", "3"])
    assert "widget.example.com/a" in await kubectl("get", "all")
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=widget())
    assert "configured" in await kubectl("apply", "-f", "-", stdin=widget(size=4))
    assert "serverside-applied" in await kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=widget(size=5)
    )
    assert "scaled" in await kubectl("scale", "widget/a", "--replicas=7")
    assert "patched" in await kubectl("patch", "widget", "a", "--type=merge", "-p", '{"spec":{"color":"green"}}')
    assert "labeled" in await kubectl("label", "widget", "a", "x=y")
    found = json.loads(await kubectl("get", "widget", "a", "-o", "json"))
    assert (found["spec"]["size"], found["spec"]["replicas"], found["spec"]["color"]) == (5, 7, "green")
    assert "Color:" in await kubectl("describe", "widget", "a")
    assert "deleted" in await kubectl("delete", "widget", "a")
    assert "deleted" in await kubectl("delete", "crd", "widgets.example.com")


async def test_explain_tells_what_the_definition_says(kubectl: Kubectl) -> None:
    whole = await kubectl("explain", "widgets")
    assert "A widget, for tests" in whole
    assert "metadata" in whole
    assert "How large it is" in await kubectl("explain", "widgets.spec.size")
    ports = await kubectl("explain", "widgets.spec.ports", "--recursive")
    assert "<[]Object>" in ports
    assert "protocol" in ports


async def test_what_the_schema_does_not_know_or_allow_is_refused(kubectl: Kubectl) -> None:
    unknown = await kubectl("apply", "-f", "-", stdin=widget(shape="round"), check=False)
    assert 'unknown field "spec.shape"' in unknown or 'unknown field "shape" in com.example.v1.Widget.spec' in unknown
    assert "unknown field" in await kubectl("create", "-f", "-", stdin=widget(shape="round"), check=False)
    bare = json.dumps({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "b"}, "spec": {}})
    for verb in ("create", "apply"):
        missing = await kubectl(verb, "-f", "-", stdin=bare, check=False)
        assert 'missing required field "size"' in missing or "spec.size: Required value" in missing
    wrong = await kubectl("apply", "-f", "-", stdin=widget(color="red"), check=False)
    assert 'spec.color: Unsupported value: "red": supported values: "blue", "green"' in wrong
    judged = await kubectl("apply", "-f", "-", stdin=widget(size=9), check=False)
    assert "spec: Invalid value: nine is too many" in judged


async def test_a_kind_that_keeps_everything_takes_everything(kubectl: Kubectl) -> None:
    keeps = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    await kubectl("apply", "-f", "-", stdin=json.dumps(definition("things", "Thing", version(schema=keeps))))
    await kubectl("wait", "--for=condition=Established", "crd/things.example.com", "--timeout=10s")
    thing = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "any": {"thing": [1]}}
    assert "created" in await kubectl("apply", "-f", "-", stdin=json.dumps(thing))
    assert json.loads(await kubectl("get", "thing", "t", "-o", "json"))["any"] == {"thing": [1]}
    assert "Thing" in await kubectl("explain", "things")


async def test_an_embedded_object_that_keeps_everything_takes_everything(kubectl: Kubectl) -> None:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": "Whatever it needs"}
    inner = {"type": "object", "properties": {"spec": anything, "size": {"type": "integer"}}}
    await kubectl("apply", "-f", "-", stdin=json.dumps(definition("boxes", "Box", version(schema=inner))))
    await kubectl("wait", "--for=condition=Established", "crd/boxes.example.com", "--timeout=10s")
    box = {"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "b"}, "spec": {"any": {"thing": [1]}}}
    assert "created" in await kubectl("create", "-f", "-", stdin=json.dumps(box))
    box["spec"] = {"other": {"deep": {"deeper": "x"}}}
    assert "configured" in await kubectl("apply", "-f", "-", stdin=json.dumps(box))
    found = json.loads(await kubectl("get", "box", "b", "-o", "json"))["spec"]
    assert found["other"] == {"deep": {"deeper": "x"}}
    assert "Whatever it needs" in await kubectl("explain", "boxes.spec")
    refused = await kubectl("create", "-f", "-", stdin=json.dumps({**box, "more": 1}), check=False)
    assert "unknown field" in refused


async def test_expressions_judge_in_their_own_words(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=json.dumps(definition("plans", "Plan", version(schema=JUDGED))))
    await kubectl("wait", "--for=condition=Established", "crd/plans.example.com", "--timeout=10s")
    plan = {"apiVersion": "example.com/v1", "kind": "Plan", "metadata": {"name": "p"}, "spec": SOUND}

    async def applied(**spec: Any) -> str:
        return await kubectl("apply", "-f", "-", stdin=json.dumps({**plan, "spec": {**SOUND, **spec}}), check=False)

    assert "spec.replicas: Forbidden: at most what is allowed" in await applied(replicas=4)
    assert "spec: Invalid value: more than a gibibyte" in await applied(size="100Mi")
    assert "11.0.0.1 is not in 10.0.0.0/8" in await applied(address="11.0.0.1")
    assert "a label" in await applied(host="A_B")
    assert '2 zones in order: ["a", "b"]' in await applied(zones=["b", "a"])
    assert "no notes" in await applied(note="x")
    assert "created" in await applied(note=None, zones=["a", "b"])
    assert "versions only go up" in await applied(version="1.2.2")
    assert "a size is for ever" in await applied(size="3Gi")
    assert "configured" in await applied(version="1.10.0")
    broken = json.loads(json.dumps(JUDGED))
    broken["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "self.nothing > 1"}]
    refused = await kubectl(
        "apply", "-f", "-", stdin=json.dumps(definition("ploys", "Ploy", version(schema=broken))), check=False
    )
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'nothing'" in refused
    dear = {"rule": "self.max > 1", "messageExpression": "'at most ' + string(self.max)"}  # nobody knows how long it is
    broken["properties"]["spec"]["x-kubernetes-validations"] = [dear]
    refused = await kubectl(
        "apply", "-f", "-", stdin=json.dumps(definition("ploys", "Ploy", version(schema=broken))), check=False
    )
    assert "estimated messageExpression cost exceeds budget by factor of more than 100x" in refused


MUTATION = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: stamped}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [widgets]}]
  matchConditions: [{name: new, expression: "!has(object.metadata.annotations)"}]
  variables: [{name: who, expression: "request.userInfo.username"}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {expression: "Object{metadata: Object.metadata{annotations: {'stamped': variables.who}}}"}
  - patchType: JSONPatch
    jsonPatch: {expression: "[JSONPatch{op: 'replace', path: '/spec/size', value: object.spec.size + 1}]"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: stamped}
spec: {policyName: stamped}
"""


async def test_a_policy_changes_custom_objects(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MUTATION)
    await kubectl("create", "-f", "-", stdin=widget())
    found = json.loads(await kubectl("get", "widget", "a", "-o", "json"))
    assert found["metadata"]["annotations"].keys() == {"stamped"} and found["spec"]["size"] == 4
