"""Type checking of admission policies: what their expressions say about kinds whose fields are known."""

from typing import Any

import pytest

from kybern.api.admissionregistration_v1 import ValidatingAdmissionPolicy
from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.codec import from_builtins
from kybern.controllers.validatingadmissionpolicystatus import built_in_types, checked, custom_types
from kybern.testing import virtual
from kybern.testing.cluster import running

DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
SETS = {**DEPLOYMENTS, "resources": ["deployments", "replicasets"]}
WIDGETS = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["widgets"]}
PARAMS = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}


def policy(*expressions: str, rule: dict[str, Any] = DEPLOYMENTS, **more: Any) -> ValidatingAdmissionPolicy:
    checks = [{"expression": each} for each in expressions]
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": checks, "failurePolicy": "Fail", **more}
    return from_builtins(ValidatingAdmissionPolicy, {"metadata": {"name": "p"}, "spec": spec})


def widgets() -> CustomResourceDefinition:
    size = {"type": "object", "properties": {"size": {"type": "integer"}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": size}}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return from_builtins(CustomResourceDefinition, {"metadata": {"name": "widgets.example.com"}, "spec": spec})


def warnings(found: ValidatingAdmissionPolicy) -> dict[str, str]:
    types = {**built_in_types(), **custom_types([widgets()])}
    return {warning.field_ref: warning.warning for warning in checked(found.spec, types)}


@pytest.mark.parametrize(
    "found",
    [
        policy(
            "object.spec.replicas > 1", "object.metadata.labels['a'] == 'b'", "oldObject == null || has(oldObject.spec)"
        ),
        policy("object.spec.template.spec.containers.all(c, c.image.startsWith('x') && has(c.resources))"),
        policy("object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')"),
        policy("object.spec.template.spec.containers.all(c, c.resources.limits['cpu'] == '1')"),
        policy("object.size < 3", rule=WIDGETS),
        policy("object.spec.replicas <= int(params.data.max)", **PARAMS),
        policy("object.nope", rule={**DEPLOYMENTS, "resources": ["*"]}),
        policy("variables.n > 1", variables=[{"name": "n", "expression": "object.spec.replicas"}]),
    ],
)
def test_what_makes_sense_is_not_warned_of(found: ValidatingAdmissionPolicy) -> None:
    assert warnings(found) == {}


def test_a_field_that_a_kind_does_not_have_is_told_with_its_place() -> None:
    found = warnings(policy("true", "object.replicas > 1"))
    assert found == {
        "spec.validations[1].expression": (
            "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^"
        )
    }


def test_every_kind_for_which_it_makes_no_sense_is_named() -> None:
    (told,) = warnings(policy("object.spec.strategy.type == 'Recreate' && object.spec.nope", rule=SETS)).values()
    deployment, replicaset = told.split("apps/v1, Kind=ReplicaSet: ")
    assert "undefined field 'nope'" in deployment and "strategy" not in deployment.split("\n")[0]
    assert "undefined field 'strategy'" in replicaset and "undefined field 'nope'" in replicaset


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (policy("object.spec.replicas == 'many'"), "found no matching overload for '_==_' applied to '(int, string)'"),
        (policy("object.size == 'x'", rule=WIDGETS), "example.com/v1, Kind=Widget: "),
        (policy("params.nope == 1", **PARAMS), "undefined field 'nope'"),
        (
            policy("variables.n == 'x'", variables=[{"name": "n", "expression": "object.spec.replicas"}]),
            "(int, string)",
        ),
    ],
)
def test_types_that_do_not_fit_are_told(found: ValidatingAdmissionPolicy, words: str) -> None:
    (told,) = warnings(found).values()
    assert words in told


def test_the_warnings_are_in_the_status_and_follow_changes() -> None:
    async def main() -> None:
        async with running() as cluster:
            made = policy("object.nope == 1")
            await cluster.client.create(made)
            await cluster.settle()
            read = await cluster.client.get(ValidatingAdmissionPolicy, "p")
            assert read.status.observed_generation == 1
            assert read.status.type_checking and read.status.type_checking.expression_warnings
            (warning,) = read.status.type_checking.expression_warnings
            assert "undefined field 'nope'" in warning.warning
            patch = {"spec": {"validations": [{"expression": "object.spec.replicas == 1"}]}}
            await cluster.client.patch(ValidatingAdmissionPolicy, "p", "", patch)
            await cluster.settle()
            read = await cluster.client.get(ValidatingAdmissionPolicy, "p")
            assert read.status.observed_generation == 2
            assert read.status.type_checking is not None and not read.status.type_checking.expression_warnings

    virtual.run(main())
