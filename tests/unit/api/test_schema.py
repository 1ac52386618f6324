from typing import Any

import pytest

from kybern.api import apps_v1, core_v1, schema
from kybern.api.normal import normal

POD = schema.of(core_v1.Pod)


def at(node: schema.Node, path: str) -> schema.Node:
    for step in path.split("."):
        node = node.item if step == "*" else node.child(step)
    return node


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("spec", "struct"), ("spec.containers", "list"), ("spec.containers.*", "struct"), ("spec.nodeSelector", "map"),
        ("spec.nodeSelector.*", "scalar"), ("spec.containers.*.image", "scalar"), ("spec.foo", "any"),
        ("spec.containers.*.resources.limits.cpu", "scalar"), ("metadata.managedFields.*.fieldsV1", "map"),
    ],
)  # fmt: skip
def test_every_place_in_an_object_has_a_form(path: str, form: str) -> None:
    assert at(POD, path).form == form


def test_shapes_are_found_where_they_were_written() -> None:
    containers = at(POD, "spec.containers")
    assert (containers.keys, containers.shape.merge_key, containers.merges_list, containers.atomic) == (
        ("name",),
        "name",
        True,
        False,
    )
    assert at(POD, "spec.volumes").shape.patch_strategy == "merge,retainKeys"
    assert at(POD, "spec.tolerations").atomic
    assert at(POD, "metadata.finalizers").shape.list_type == "set"
    assert at(POD, "spec.imagePullSecrets.*").atomic
    assert at(schema.of(apps_v1.Deployment), "spec.selector").atomic
    assert at(schema.of(apps_v1.Deployment), "spec.strategy").shape.patch_strategy == "retainKeys"


def test_what_every_object_has_is_told_from_what_it_may_have() -> None:
    assert at(POD, "spec").always and at(POD, "metadata").always and at(POD, "spec.containers").always
    assert not at(POD, "spec.volumes").always


def test_a_type_that_holds_itself_is_no_problem() -> None:
    from kybern.api.apiextensions_v1 import JSONSchemaProps

    node = schema.of(JSONSchemaProps)
    for _ in range(50):
        node = node.child("not")
    assert node.form == "struct"


def test_openapi_gives_the_same_tree() -> None:
    found = schema.of_openapi({
        "type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "integer"}}},
            "port": {"x-kubernetes-int-or-string": True},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    })  # fmt: skip
    forms = {key: (node.form, node.atomic) for key, node in found.fields.items()}
    assert forms == {
        "set": ("list", False), "labels": ("map", False), "whole": ("struct", True), "port": ("scalar", True), "free": ("map", False),
    }  # fmt: skip
    assert schema.of_custom_resource({}).fields["metadata"].fields["labels"].form == "map"


def test_values_are_brought_into_the_servers_own_writing() -> None:
    value: Any = {
        "metadata": {"creationTimestamp": "2026-01-01T01:00:00+01:00"},
        "spec": {
            "containers": [{"name": "a", "resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}],
            "priority": 1,
        },
    }
    assert normal(POD, value) == {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "containers": [{"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}],
            "priority": 1,
        },
    }
    with pytest.raises(ValueError, match="quantities must match"):
        normal(POD, {"spec": {"overhead": {"cpu": "x"}}})
