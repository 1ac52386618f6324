"""A quick look says yes only where the whole check has nothing to say, and knows each field."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kybern.api import schema, strict
from kybern.registry.customresources import values
from kybern.registry.customresources.effort import Effort
from kybern.registry.customresources.places import ROOT, Findings, Wrong
from kybern.registry.customresources.quick import FIELDS_MAX, MANY_FIELDS_MAX, OWN_FIELDS_MAX, looking
from kybern.registry.customresources.values import compiled

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 3},
        "count": {"type": "integer", "minimum": 0.0, "maximum": 9.0},
        "any-count": {"type": "integer"},
        "ratio": {"type": "number", "maximum": 1.5, "nullable": True},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
        "inner": {"type": "object", "properties": {"list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}},
    },
}  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 12), st.just(2**63), st.just(2**64), st.floats(-2, 2), st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["name", "list", "a", "other", *SCHEMA["properties"]]), inner, max_size=4),
    ),
    max_leaves=8,
)
RIGHT = {
    "name": st.text(min_size=1, max_size=3),
    "count": st.integers(0, 9),
    "ratio": st.one_of(st.none(), st.floats(-1, 1.5), st.integers(-3, 1)),
    "tags": st.lists(st.text(max_size=3), max_size=2),
    "labels": st.dictionaries(st.text(max_size=2), st.integers(-9, 9), max_size=2),
    "notes": st.dictionaries(st.text(max_size=2), st.none() | st.text(max_size=2), max_size=2),
    "inner": st.just({"list": [{"a": "b"}, {}]}),
}


def wrong_with(value: Any) -> list[Wrong]:
    check, wrong = compiled(SCHEMA), Findings(Effort())
    assert check is not None
    check(value, ROOT, wrong)
    return wrong


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(list(SCHEMA["properties"])), VALUES) | VALUES)
def test_what_it_lets_pass_is_right_and_known(value: Any) -> None:
    open_, closed = looking(SCHEMA), looking(SCHEMA, closed=True)
    assert open_ is not None and closed is not None
    if open_(value):
        assert wrong_with(value) == []
    if closed(value):
        assert open_(value) and strict.is_plain(schema.of_openapi(SCHEMA), value)


@settings(deadline=None, max_examples=100)
@given(
    st.fixed_dictionaries(
        {"name": RIGHT["name"]}, optional={key: value for key, value in RIGHT.items() if key != "name"}
    )
)
def test_what_is_right_passes(value: Any) -> None:
    look = looking(SCHEMA, closed=True)
    assert look is not None and wrong_with(value) == []
    assert look(value) and strict.is_plain(schema.of_openapi(SCHEMA), value)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "string", "pattern": "a"},
        {"type": "string", "enum": ["a"]},
        {"type": "string", "format": "date-time"},
        {"type": "integer", "format": "int32"},
        {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
        {"type": "integer", "multipleOf": 2},
        {"type": "integer", "minimum": 0.5},
        {"type": "string", "maxLength": 2**62, "minLength": -(2**62)},
        {"type": "object", "properties": {"\0": {"type": "string"}}},
        {"type": "array"},
        {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        {"type": "object", "minProperties": 1},
        {"type": "object", "required": ["x"]},
        {"x-kubernetes-int-or-string": True},
        {"type": "object", "oneOf": [{"required": ["a"]}]},
        {"type": "string", "x-kubernetes-validations": [{"rule": "true"}]},
    ],
)
def test_what_no_type_can_say_has_no_quick_look(part: Any) -> None:
    assert looking({"type": "object", "properties": {"a": part}}) is None


def with_fields(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"f{number}": {"type": "string"} for number in range(count)}}


def test_a_schema_of_very_many_fields_has_none() -> None:
    parts = {f"p{number}": with_fields(OWN_FIELDS_MAX) for number in range(FIELDS_MAX // OWN_FIELDS_MAX + 1)}
    assert looking({"type": "object", "properties": parts}) is None
    assert looking(with_fields(OWN_FIELDS_MAX)) and not looking(with_fields(OWN_FIELDS_MAX + 1))


@pytest.mark.parametrize("many", [{"type": "array"}, {"type": "object"}], ids=["list", "map"])
def test_what_may_come_very_often_has_few_fields(many: dict[str, Any]) -> None:
    key = "items" if many["type"] == "array" else "additionalProperties"
    assert looking({**many, key: with_fields(MANY_FIELDS_MAX)}) and not looking({**many, key: with_fields(99)})
    part = {"type": "object", "properties": {"a": with_fields(99)}}
    assert looking(part) and not looking({**many, key: part})


def test_within_a_part_that_has_a_quick_look_nothing_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(5):
        deep = {"type": "object", "properties": {"a": deep}}
    without = {"type": "object", "properties": {"deep": deep, "moment": {"type": "string", "format": "date-time"}}}
    asked = []

    def counted(part: Any) -> Any:
        asked.append(part)
        return looking(part)

    monkeypatch.setattr(values, "looking", counted)
    check = values.compiled({"type": "object", "properties": {"fit": deep, "unfit": without}})
    assert asked == [deep, without, deep]
    assert check is not None
    wrong = Findings(Effort())
    check({"fit": {"a": {"a": {"a": {"a": {"a": 1}}}}}}, ROOT, wrong)
    assert [one.error.field for one in wrong] == ["fit.a.a.a.a.a"]
