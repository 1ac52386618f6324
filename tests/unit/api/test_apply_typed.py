"""What no schema allows, in an applied configuration: upstream's words for it."""

from typing import Any

import pytest

from kybern.api import schema
from kybern.api.apply import check_typed, typed
from kybern.api.apply.compare import by_step
from kybern.api.core_v1 import Pod, Service
from kybern.api.errors import BadRequest

LIST = {
    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "zone"],
    "items": {"type": "object", "properties": {"name": {"type": "string"}, "zone": {"type": "string", "default": "a"}}},
}  # fmt: skip
CUSTOM = {
    "properties": {
        "list": LIST,
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"n": {"type": "integer"}}},
        "port": {"x-kubernetes-int-or-string": True},
    }
}  # fmt: skip


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        (pod(containers=[{"name": "a", "ports": [{"containerPort": 1}]}]), []),
        (pod(contaners=[]), [".spec.contaners: field not declared in schema"]),
        (pod(containers=[{"name": "a", "imag": "x"}]), ['.spec.containers[name="a"].imag: field not declared in schema']),
        (pod(containers=[{"name": "a"}, {"name": "a"}]), ['.spec.containers: duplicate entries for key [name="a"]']),
        (
            pod(containers=[{"name": "a"}, {"image": "x"}]),
            ['.spec.containers: element 1: associative list with keys has an element that omits key field "name" '
             "(and doesn't have default value)"],
        ),
        (pod(containers={}), [".spec.containers: expected list, got &{map[]}"]),
        (pod(securityContext=[]), [".spec.securityContext: expected map, got &{[]}"]),
        (pod(priority="high"), [".spec.priority: expected numeric (int or float), got string"]),
        (pod(hostNetwork="yes"), [".spec.hostNetwork: expected boolean, got &{yes}"]),
        (pod(nodeName=3), [".spec.nodeName: expected string, got &value.valueUnstructured{Value:3}"]),
        (pod(nodeName=None), []),
        (
            pod(containers=[{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}]}]),
            ['.spec.containers[name="a"].ports: duplicate entries for key [containerPort=1,protocol="TCP"]'],
        ),
        (pod(priority="high", hostPID=1),
         [".spec.priority: expected numeric (int or float), got string", ".spec.hostPID: expected boolean, got &{1}"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_configuration_is_said_with_its_place(said: dict[str, Any], problems: list[str]) -> None:
    assert list(typed.problems(schema.of(Pod), said)) == problems


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        ({"list": [{"name": "x"}, {"name": "x", "zone": "b"}]}, []),
        (
            {"list": [{"name": "x"}, {"name": "x", "zone": "a"}]},
            ['.list: duplicate entries for key [name="x",zone="a"]'],
        ),
        ({"list": ["x"]}, [".list: element 0: associative list with keys may not have non-map elements"]),
        ({"set": ["x", "y", "x"]}, ['.set: duplicate entries for key [="x"]']),
        ({"set": [{}]}, [".set: element 0: associative list without keys has an element that's a map type"]),
        ({"open": {"n": 1, "m": {}}, "port": "http"}, []),
        ({"port": []}, [".port: expected any scalar, got &{[]}"]),
        ({"other": 1}, [".other: field not declared in schema"]),
    ],
)
def test_a_custom_resources_schema_is_held_to_likewise(said: dict[str, Any], problems: list[str]) -> None:
    assert list(typed.problems(schema.of_custom_resource(CUSTOM), said)) == problems


def test_a_key_that_is_left_out_is_its_schemas_default() -> None:
    services = schema.of(Service).child("spec").child("ports")
    assert list(by_step(services, [{"port": 1}])) == ['k:{"port":1,"protocol":"TCP"}']
    custom = schema.of_openapi(LIST)
    assert list(by_step(custom, [{"name": "x"}])) == ['k:{"name":"x","zone":"a"}']
    without = schema.of_openapi({**LIST, "x-kubernetes-list-map-keys": ["protocol"]})
    assert list(by_step(without, [{"name": "x"}])) == ['k:{"protocol":null}']


def test_several_problems_are_told_one_beneath_the_other() -> None:
    with pytest.raises(BadRequest) as refused:
        check_typed(pod(priority="high", hostPID=1), "v1", schema.of(Pod))
    assert refused.value.message == (
        "failed to create typed patch object (/p; v1, Kind=Pod): errors:\n"
        "  .spec.priority: expected numeric (int or float), got string\n"
        "  .spec.hostPID: expected boolean, got &{1}"
    )


def test_metadata_that_are_none_are_told_without_a_name() -> None:
    with pytest.raises(BadRequest, match=r"\(/; v1, Kind=Pod\)"):
        check_typed({"kind": "Pod", "metadata": 1}, "v1", schema.of(Pod))
