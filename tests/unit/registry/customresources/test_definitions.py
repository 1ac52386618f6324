"""What is refused when a definition is written, in upstream's words."""

import copy
from typing import Any

import pytest
from custom_kinds import definition, version

from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.codec import from_builtins
from kybern.api.custom import CustomObject
from kybern.api.strict import decode_value
from kybern.registry.customresources.conditions import find, status_of
from kybern.registry.customresources.definition import CUSTOM_RESOURCE_DEFINITIONS as RULES
from kybern.registry.customresources.resource import resource_of
from kybern.registry.parts import changed

AT = "spec.versions[0].schema.openAPIV3Schema"


def judged(value: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    found = made(value)
    assert RULES.validate_update is not None
    errors = RULES.validate(found) if old is None else RULES.validate_update(found, made(old))
    return [str(error).replace(AT, "@") for error in errors]


def made(value: dict[str, Any]) -> CustomResourceDefinition:
    found: CustomResourceDefinition = from_builtins(CustomResourceDefinition, copy.deepcopy(value))
    return RULES.on_create(RULES.default(found)) if "status" not in value else RULES.default(found)


def of_schema(schema: Any, **more: Any) -> list[str]:
    return judged(definition("widgets", "Widget", version(schema=schema, **more)))


def of_part(part: Any) -> list[str]:
    """A schema of which `spec` is this."""
    return of_schema({"type": "object", "properties": {"spec": part}})


def test_a_definition_like_any_other_is_right() -> None:
    assert judged(definition()) == []


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ({}, ["@.properties[spec].type: Required value: must not be empty for specified object fields"]),
        ({"type": "array"}, ["@.properties[spec].items: Required value: must be specified"]),
        (
            {"type": "array", "items": {}},
            ["@.properties[spec].items.type: Required value: must not be empty for specified array items"],
        ),
        ({"x-kubernetes-int-or-string": True}, []),
        ({"x-kubernetes-preserve-unknown-fields": True}, []),
        (
            {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
            ["@.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if "
             "x-kubernetes-int-or-string is true"],
        ),
        (
            {"type": "tring"},
            ['@.properties[spec].type: Unsupported value: "tring": supported values: "array", "boolean", "integer", '
             '"number", "object", "string"'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
            ["@.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are mutual "
             "exclusive"],
        ),
        (
            {"type": "string", "anyOf": [{"type": "string"}, {"minLength": 2}]},
            ["@.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, []),
        (
            {"type": "string", "pattern": "(a"},
            ['@.properties[spec].pattern: Invalid value: "(a": must be a valid regular expression, but isn\'t: '
             "error parsing regexp: missing closing ): `(a`"],
        ),
        (
            {"type": "string", "pattern": "(?=a)"},
            ['@.properties[spec].pattern: Invalid value: "(?=a)": must be a valid regular expression, but isn\'t: '
             "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"],
        ),
        ({"type": "array", "uniqueItems": True, "items": {"type": "string"}},
         ["@.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity "
          "becomes quadratic"]),
        ({"$ref": "#/definitions/x", "type": "object"}, ["@.properties[spec].$ref: Forbidden: $ref is not supported"]),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            ["@.properties[spec].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
        ),
        (
            {"type": "string", "x-kubernetes-list-type": "set"},
            ['@.properties[spec].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'],
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "bag", "items": {"type": "string"}},
            ['@.properties[spec].x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", '
             '"map"'],
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "string"}},
            ["@.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if "
             "x-kubernetes-list-type is map",
             '@.properties[spec].items.type: Invalid value: "string": must be object if parent array\'s '
             "x-kubernetes-list-type is map"],
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
             "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
            ["@.properties[spec].items.properties[a].default: Required value: this property is in "
             "x-kubernetes-list-map-keys, so it must have a default or be a required property"],
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "properties": {}}},
            ["@.properties[spec].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with "
             "x-kubernetes-list-type=set"],
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            ["@.properties[spec].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true "
             "without x-kubernetes-preserve-unknown-fields"],
        ),
        (
            {"type": "integer", "default": "three"},
            ['@.properties[spec].default: Invalid value: "string":  in body must be of type integer: "string"'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}},
            ['@.properties[spec].default: Invalid value: {"b":1}: must not have unknown fields'],
        ),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "maximum": 3}}, "default": {"a": 4}},
            ["@.properties[spec].default.a: Invalid value: 4: a in body should be less than or equal to 3"],
        ),
    ],
)  # fmt: skip
def test_a_part_of_a_schema_is_judged(part: Any, wrong: list[str]) -> None:
    assert of_part(part) == wrong


@pytest.mark.parametrize(
    ("schema", "wrong"),
    [
        ({"type": "string"}, ['@.type: Invalid value: "string": must be object at the root']),
        ({"type": "object", "nullable": True}, ["@.nullable: Forbidden: nullable cannot be true at the root"]),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            ["@.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            {"type": "object", "allOf": [{"properties": {"a": {"minLength": 2}}}]},
            ["@.properties[a]: Required value: because it is defined in @.allOf[0].properties[a]"],
        ),
        ({"type": "object", "properties": {"metadata": {"type": "object"}}}, []),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
            ["@.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata "
             "is implicitly specified"],
        ),
        (
            {"type": "object", "properties": {"kind": {"type": "integer"}}},
            ['@.properties[kind].type: Invalid value: "integer": must be string'],
        ),
        (
            {"type": "object", "properties": {"kind": {"type": "string", "default": "X"}}},
            ["@.properties[kind].default: Forbidden: must not be set in top-level kind"],
        ),
    ],
)  # fmt: skip
def test_the_root_of_a_schema_is_judged(schema: Any, wrong: list[str]) -> None:
    assert of_schema(schema) == wrong


def test_with_a_status_the_root_says_less() -> None:
    schema = {"type": "object", "properties": {}, "maxProperties": 3}
    wrong = of_schema(schema, subresources={"status": {}})
    assert len(wrong) == 1
    assert "fields are allowed at the root of the schema if the status subresource is enabled" in wrong[0]


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({"subresources": {"scale": {"specReplicasPath": "spec.x", "statusReplicasPath": ".status.y"}}},
         ['scale.specReplicasPath: Invalid value: "spec.x": must be a simple json path starting with .']),
        ({"subresources": {"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.y"}}},
         ['scale.specReplicasPath: Invalid value: ".status.x": should be a json path under .spec']),
        ({"additionalPrinterColumns": [{"name": "a", "type": "text", "jsonPath": ".spec.a"}]},
         ['type: Invalid value: "text": must be one of boolean,date,integer,number,string']),
        ({"additionalPrinterColumns": [{"name": "a", "type": "string", "jsonPath": "spec.a"}]},
         ['JSONPath: Invalid value: "spec.a": must be a simple json path starting with .']),
        ({"selectableFields": [{"jsonPath": ".spec.nothing"}]},
         ['jsonPath: Invalid value: ".spec.nothing": is an invalid path: does not refer to a valid field']),
        ({"selectableFields": [{"jsonPath": ".spec.ports"}]},
         ['jsonPath: Invalid value: ".spec.ports": must point to a field of type string, boolean or integer. Enum string '
          "fields and strings with formats are allowed."]),
        ({"selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.color"}]},
         ['jsonPath: Duplicate value: ".spec.color"']),
        ({"deprecationWarning": "soon"},
         ['deprecationWarning: Invalid value: "soon": can only be set for deprecated versions']),
    ],
)  # fmt: skip
def test_a_version_is_judged(more: dict[str, Any], wrong: list[str]) -> None:
    said = judged(definition("widgets", "Widget", version(**more)))
    assert [one for one, end in zip(said, wrong, strict=True) if not one.endswith(end)] == []


def test_names_groups_and_versions_are_judged() -> None:
    assert judged(definition(group="example")) == [
        'spec.group: Invalid value: "example": should be a domain with at least one dot'
    ]
    wrong = judged(definition("widgets", "Widget", version("v1"), version("v1")))
    assert [one.split(": ")[-1] for one in wrong] == [
        "must contain unique version names", "must have exactly one version marked as storage version",
    ]  # fmt: skip
    assert judged(definition(scope="Galaxy")) == [
        'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'
    ]
    assert judged(definition(group="apps.k8s.io")) == [
        "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "
        '"api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111'
    ]


def test_conversion_needs_somebody_to_ask() -> None:
    assert judged(definition(conversion={"strategy": "Webhook"})) == [
        "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        "spec.conversion.conversionReviewVersions: Required value",
    ]
    webhook = {"clientConfig": {"url": "http://a"}, "conversionReviewVersions": ["v9"]}
    wrong = judged(definition(conversion={"strategy": "Webhook", "webhook": webhook}))
    assert [one.split(": ")[0] for one in wrong] == [
        "spec.conversion.webhookClientConfig.url", "spec.conversion.conversionReviewVersions",
    ]  # fmt: skip


def test_what_names_the_place_in_the_store_does_not_change() -> None:
    established = {"conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"]}
    old = {**definition(), "status": established}
    assert judged(definition(scope="Cluster") | {"status": established}, old) == [
        'spec.scope: Invalid value: "Cluster": field is immutable'
    ]
    without = {**definition("widgets", "Widget", version("v2")), "status": established}
    assert judged(without, old) == [
        'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, '
        "and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes "
        "v1 from status.storedVersions"
    ]


def test_unknown_fields_are_kept_only_where_they_were() -> None:
    keeping = definition(preserveUnknownFields=True)
    refused = [
        "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields to "
        "true in spec.versions[*].schema instead"
    ]
    assert judged(keeping) == refused
    assert judged(keeping, definition()) == refused
    assert judged(keeping, keeping) == []


def test_what_is_stored_without_structure_is_told_so_until_it_has_one() -> None:
    loose = {"type": "object", "properties": {"spec": {"properties": {"a": {}}}}}
    found = status_of(
        made(definition("widgets", "Widget", version(schema=loose), preserveUnknownFields=True)), [], "now"
    )
    told = find(found.conditions or (), "NonStructuralSchema")
    assert told is not None and (told.status, told.reason) == ("True", "Violations")
    at = "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
    assert told.message == (
        "[spec.preserveUnknownFields: Invalid value: true: must be false, "
        f"{at}.properties[a].type: Required value: must not be empty for specified object fields, "
        f"{at}.type: Required value: must not be empty for specified object fields]"
    )
    mended = changed(made(definition()), status=found)
    assert find(status_of(mended, [], "now").conditions or (), "NonStructuralSchema") is None


def test_a_definition_of_an_older_server_may_keep_what_nobody_knows() -> None:
    known = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    sent: Any = {"kind": "Widget", "apiVersion": "example.com/v1", "spec": {"a": "x", "b": {"c": [1, {"d": None}]}}}
    stored: CustomObject = from_builtins(CustomObject, copy.deepcopy(sent))
    for keeps, spec in ((False, {"a": "x"}), (True, sent["spec"])):
        of = made(definition("widgets", "Widget", version(schema=known), preserveUnknownFields=keeps))
        resource = resource_of(of, of.spec.versions[0])
        read, problems = decode_value(resource.kind.type, copy.deepcopy(sent))
        assert resource.default(read)["spec"] == spec == resource.from_storage(stored)["spec"]
        assert problems == ([] if keeps else ['unknown field "spec.b"'])
