"""anyOf, oneOf, allOf and not, one in the other, say of a value what they mean; and of a right one nothing is ever told."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kybern.registry.customresources.effort import TOLD_MAX, Effort, TooMuch
from kybern.registry.customresources.places import ROOT, Findings
from kybern.registry.customresources.values import compiled

PLAIN = st.sampled_from(
    [
        {"minimum": 2}, {"maximum": 3}, {"multipleOf": 2}, {"minLength": 2}, {"maxLength": 1}, {"pattern": "a"}, {"enum": ["a", 1]},
        {"minItems": 1}, {"maxItems": 1}, {"required": ["a"]}, {"maxProperties": 1}, {"type": "string"}, {"type": "integer"},
    ]
)  # fmt: skip
SCHEMAS = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.dictionaries(
            st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1, max_size=3), max_size=2
        ),
        st.builds(lambda schema: {"not": schema}, inner),
        st.builds(lambda schema: {"items": schema}, inner),
        st.builds(lambda schema: {"properties": {"a": schema}}, inner),
        st.builds(lambda one, other: {**one, **other}, inner, inner),
    ),
    max_leaves=12,
)
VALUES = st.recursive(
    st.one_of(st.integers(0, 5), st.text("ab", max_size=3), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)
KINDS = {"string": str, "integer": int}


def holds(schema: Any, value: Any) -> bool:
    """What OpenAPI says, word by word."""
    is_number, is_map = type(value) is int, isinstance(value, dict)
    met = {
        "type": lambda kind: type(value) is KINDS[kind],
        "minimum": lambda least: not is_number or value >= least,
        "maximum": lambda most: not is_number or value <= most,
        "multipleOf": lambda factor: not is_number or value % factor == 0,
        "minLength": lambda least: not isinstance(value, str) or len(value) >= least,
        "maxLength": lambda most: not isinstance(value, str) or len(value) <= most,
        "pattern": lambda text: not isinstance(value, str) or text in value,
        "enum": lambda choices: any(type(value) is type(choice) and value == choice for choice in choices),
        "minItems": lambda least: not isinstance(value, list) or len(value) >= least,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "items": lambda inner: not isinstance(value, list) or all(holds(inner, item) for item in value),
        "required": lambda names: not is_map or all(name in value for name in names),
        "maxProperties": lambda most: not is_map or len(value) <= most,
        "properties": lambda parts: not is_map or all(holds(parts[key], value[key]) for key in parts if key in value),
        "anyOf": lambda parts: any(holds(part, value) for part in parts),
        "oneOf": lambda parts: sum(holds(part, value) for part in parts) == 1,
        "allOf": lambda parts: all(holds(part, value) for part in parts),
        "not": lambda part: not holds(part, value),
    }
    return all(met[word](said) for word, said in schema.items())


def is_right(schema: Any, value: Any, told_max: int) -> bool:
    check, wrong = compiled(schema), Findings(Effort(told_max))
    if check is None:
        return True
    try:
        check(value, ROOT, wrong)
    except TooMuch:
        return False
    return not wrong


@settings(deadline=None, max_examples=400)
@given(SCHEMAS, VALUES)
def test_they_hold_as_they_say_however_little_may_be_told(schema: Any, value: Any) -> None:
    assert is_right(schema, value, TOLD_MAX) == is_right(schema, value, 0) == holds(schema, value)
