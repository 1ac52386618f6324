"""x-kubernetes-validations: what is refused when written, and what of objects, in upstream's words."""

from typing import Any

import pytest
from custom_kinds import definition, version

from kybern.aio.beside import TakesLong, at_once
from kybern.api.apiextensions_v1 import CustomResourceDefinition
from kybern.api.codec import from_builtins
from kybern.api.custom import CustomObject
from kybern.registry.customresources.definition import CUSTOM_RESOURCE_DEFINITIONS as RULES
from kybern.registry.customresources.validating import Validation

AT = "spec.versions[0].schema.openAPIV3Schema.properties[spec]"
PORTS = {
    "type": "array",
    "maxItems": 5,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.port == oldSelf.port", "message": "a port keeps its number"}],
    },
}


def schema(*rules: Any, **properties: Any) -> dict[str, Any]:
    spec = {
        "type": "object",
        "properties": {
            "replicas": {"type": "integer"},
            "max": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            **properties,
        },
        "x-kubernetes-validations": list(rules),
    }
    return {"type": "object", "properties": {"spec": spec}}


def refused(openapi: dict[str, Any]) -> list[str]:
    found: CustomResourceDefinition = from_builtins(
        CustomResourceDefinition, definition("widgets", "Widget", version(schema=openapi))
    )
    return [str(error).replace(AT, "@") for error in RULES.validate(RULES.on_create(RULES.default(found)))]


def judged(openapi: dict[str, Any], spec: Any, old: Any = None) -> list[str]:
    validation = Validation(openapi, lambda obj: (), lambda obj: ())
    new = made(spec)
    errors = validation.of_new(new) if old is None else validation.of_change(new, made(old))
    return [str(error) for error in errors]


def made(spec: Any) -> CustomObject:
    found: CustomObject = from_builtins(CustomObject, {"kind": "Widget", "apiVersion": "example.com/v1", "spec": spec})
    return found


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ({"rule": "self.replicas <= self.max"}, ""),
        ({"rule": "self.nothing > 1"}, "compilation failed: ERROR: <input>:1:5: undefined field 'nothing'"),
        ({"rule": "self.replicas"}, "cel expression must evaluate to a bool"),
        ({"rule": " "}, "@.x-kubernetes-validations[0].rule: Required value: rule is not specified"),
        ({"rule": "true", "reason": "Because"}, '.reason: Unsupported value: "Because": supported values: '),
        ({"rule": "true", "messageExpression": "1"}, "messageExpression must evaluate to a string"),
        ({"rule": "true", "messageExpression": "self.x"}, "messageExpression compilation failed: ERROR"),
        ({"rule": "true", "fieldPath": ".nothing"}, '.fieldPath: Invalid value: ".nothing": must be a valid path'),
        ({"rule": "true", "fieldPath": ".replicas"}, ""),
        ({"rule": "true", "message": "a\nb"}, "must not contain line breaks"),
        ({"rule": "true\n&& true"}, "message must be specified if rule contains line breaks"),
        ({"rule": "true", "optionalOldSelf": True}, "may not be set if oldSelf is not used in rule"),
        ({"rule": "!oldSelf.hasValue() || oldSelf.value().replicas < 3", "optionalOldSelf": True}, ""),
        (
            {"rule": "self.tags.all(a, self.tags.all(b, self.tags.all(c, a != b + c)))"},
            "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule",
        ),
    ],
)
def test_a_rule_is_judged_when_it_is_written(rule: dict[str, Any], wrong: str) -> None:
    said = refused(schema(rule))
    assert bool(said) == bool(wrong), said
    assert not wrong or wrong in said[0]


def test_what_cannot_be_told_apart_has_no_past() -> None:
    items = {"type": "string", "maxLength": 9, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    wrong = refused(schema(list={"type": "array", "maxItems": 3, "items": items}))
    assert wrong == [
        '@.properties[list].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used '
        "on the uncorrelatable portion of the schema within @.properties[list]"
    ]
    assert refused(schema(ports=PORTS)) == []


def test_many_affordable_rules_can_be_too_dear_together() -> None:
    rule = {"rule": "self.tags.all(a, a.startsWith('x'))"}
    tags = {"type": "array", "maxItems": 400_000, "items": {"type": "string", "maxLength": 30}}
    wrong = refused(schema(*([rule] * 60), tags=tags))
    assert any("contributed to estimated rule cost total exceeding cost limit" in one for one in wrong)
    assert "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in wrong[-1]


def test_keys_of_a_bounded_map_cost_a_rule_nothing_whatever_their_length() -> None:
    labels = {"type": "object", "maxProperties": 8, "additionalProperties": {"type": "string", "maxLength": 63}}
    assert refused(schema({"rule": "self.labels.all(key, key.matches('^[a-z]+$'))"}, labels=labels)) == []
    by_value = {"rule": "self.labels.all(key, self.labels[key].matches('^[a-z]+$'))"}
    unbounded = {"type": "object", "maxProperties": 800, "additionalProperties": {"type": "string"}}
    assert "estimated rule cost exceeds budget" in refused(schema(by_value, labels=unbounded))[0]


def test_a_rule_that_does_not_hold_says_so() -> None:
    plain = schema({"rule": "self.replicas <= self.max"})
    assert judged(plain, {"replicas": 2, "max": 3}) == []
    assert judged(plain, {"replicas": 4, "max": 3}) == ["spec: Invalid value: failed rule: self.replicas <= self.max"]
    worded = schema({
        "rule": "self.replicas <= self.max", "message": "too many", "fieldPath": ".replicas",
        "reason": "FieldValueForbidden",
    })  # fmt: skip
    assert judged(worded, {"replicas": 4, "max": 3}) == ["spec.replicas: Forbidden: too many"]
    reckoned = schema({"rule": "self.replicas <= self.max", "messageExpression": "'at most ' + string(self.max)"})
    assert judged(reckoned, {"replicas": 4, "max": 3}) == ["spec: Invalid value: at most 3"]


def test_a_value_that_is_no_object_is_shown() -> None:
    replicas = {"type": "integer", "x-kubernetes-validations": [{"rule": "self % 2 == 0", "message": "must be even"}]}
    assert judged(schema(replicas=replicas), {"replicas": 3}) == ["spec.replicas: Invalid value: 3: must be even"]


def test_what_is_missing_fails_the_rule_in_words() -> None:
    assert judged(schema({"rule": "self.replicas > 1"}), {}) == [
        "spec: Invalid value: no such key: replicas evaluating rule: self.replicas > 1"
    ]


def test_a_transition_is_judged_only_where_there_was_a_value() -> None:
    grows = schema({"rule": "self.replicas >= oldSelf.replicas", "message": "only grows"})
    assert judged(grows, {"replicas": 1}) == []
    assert judged(grows, {"replicas": 1}, {"replicas": 2}) == ["spec: Invalid value: only grows"]
    ports = schema(ports=PORTS)
    before = {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}
    after = {"ports": [{"name": "b", "port": 3}, {"name": "c", "port": 9}, {"name": "a", "port": 1}]}
    assert judged(ports, after, before) == ["spec.ports[0]: Invalid value: a port keeps its number"]


def test_an_optional_past_may_be_none() -> None:
    started = schema(
        {"rule": "oldSelf.hasValue() || self.replicas == 1", "optionalOldSelf": True, "message": "start at 1"}
    )
    assert judged(started, {"replicas": 2}) == ["spec: Invalid value: start at 1"]
    assert judged(started, {"replicas": 2}, {"replicas": 1}) == []


def test_what_was_wrong_before_and_is_as_it_was_is_let_be() -> None:
    strict = {
        "type": "object",
        "properties": {
            "spec": schema({"rule": "self.replicas <= self.max"})["properties"]["spec"],
            "other": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
    }
    bad = {"replicas": 9, "max": 3}
    validation = Validation(strict, lambda obj: (), lambda obj: ())
    old = made(bad)
    assert validation.of_change(old.changed(other={"a": "x"}), old) == []
    assert len(validation.of_change(old.changed(spec={**bad, "max": 4}), old)) == 1


def test_rules_wait_for_values_of_the_right_shape() -> None:
    errors = judged(schema({"rule": "self.replicas <= self.max"}), {"replicas": "many", "max": 3})
    assert errors[-1].startswith("<nil>: Invalid value: null: some validation rules were not checked because")


def test_all_rules_of_an_object_share_a_budget_and_each_call_has_an_end() -> None:
    rule = {"rule": "self.tags.all(a, self.tags.exists(b, a == b))"}
    values = [f"{index:04}" for index in range(300)]
    assert judged(schema(*([rule] * 40)), {"tags": values}) == [
        "spec: Invalid value: validation failed due to running out of cost budget, no further validation rules will be run"
    ]
    dear = "self.tags.all(a, self.tags.all(b, self.tags.all(c, a != b + c)))"
    assert judged(schema({"rule": dear}), {"tags": values}) == [
        "spec: Invalid value: 'operation cancelled: actual cost limit exceeded': no further validation rules will be run "
        f"due to call cost exceeds limit for rule: {dear}"
    ]


def test_rules_that_are_dear_are_not_asked_while_others_wait() -> None:
    openapi = schema({"rule": "self.tags.all(a, self.tags.exists(b, a == b))"})
    assert at_once(lambda: judged(openapi, {"tags": ["a", "b"]})) == []
    with pytest.raises(TakesLong):
        at_once(lambda: judged(openapi, {"tags": [f"{index:04}" for index in range(300)]}))


def test_a_property_that_is_null_is_as_good_as_none() -> None:
    openapi = schema({"rule": "!has(self.note)", "message": "no notes"}, note={"type": "string", "nullable": True})
    assert judged(openapi, {"note": None}) == []
    assert judged(openapi, {"note": "x"}) == ["spec: Invalid value: no notes"]


def test_words_that_the_language_reserves_may_stand_after_a_dot() -> None:
    openapi = schema({"rule": "self.namespace == 'a' && self.__if__ == 'b' && has(self.if)"}, **{
        "namespace": {"type": "string"}, "if": {"type": "string"},
    })  # fmt: skip
    assert refused(openapi) == [] == judged(openapi, {"namespace": "a", "if": "b"})


def test_rules_about_what_an_object_is_hold_for_every_write() -> None:
    rule = {"type": "string", "x-kubernetes-validations": [{"rule": "self == 'v1'"}]}
    openapi = {"type": "object", "properties": {"apiVersion": rule, "note": rule}}
    was: CustomObject = from_builtins(CustomObject, {"kind": "Widget", "apiVersion": "v2", "note": "v2"})
    errors = Validation(openapi, lambda obj: (), lambda obj: ()).of_change(was, was)
    assert [str(error) for error in errors] == ["apiVersion: Invalid value: \"v2\": failed rule: self == 'v1'"]


def test_a_number_or_a_text_has_the_bound_that_its_schema_gives_it() -> None:
    either = {"x-kubernetes-int-or-string": True, "maxLength": 10}
    assert refused(schema({"rule": "type(self.max2) == int || self.max2.matches('^[0-9]+%$')"}, max2=either)) == []


def test_a_pattern_that_is_none_is_told_when_the_rule_is_written() -> None:
    (error,) = refused(schema({"rule": "self.tags.all(t, t.find(')') == '')"}))
    assert "program instantiation failed: error parsing regexp: unexpected ): `)`" in error
