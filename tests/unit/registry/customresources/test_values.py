"""The quick look at simple values never says otherwise than the whole check."""

from typing import Any

import pytest

from kybern.registry.customresources import values
from kybern.registry.customresources.effort import Effort
from kybern.registry.customresources.formats import FORMATS
from kybern.registry.customresources.places import Check, Findings
from kybern.registry.customresources.values import compiled

SCHEMAS: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "maxLength": 3, "minLength": 1},
    {"type": "string", "maxLength": 3, "pattern": "^a"},
    {"type": "string", "format": "date"},
    {"type": "string", "enum": ["a"]},
    {"type": "integer"},
    {"type": "integer", "minimum": 0, "maximum": 9},
    {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
    {"type": "integer", "format": "int32"},
    {"type": "number", "maximum": 1.5},
    {"type": "boolean", "nullable": True},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": "integer", "maximum": 3}},
    {"type": "array", "items": {"type": "string"}, "maxItems": 1},
    {"type": "object"},
    {"type": "object", "required": ["a"]},
]
VALUES: list[Any] = [
    "", "a", "b", "abcd", "2026-01-01", "é" * 3, 0, -1, 9, 10, 2**31, 2**63 - 1, 2**63, -(2**63), 1.0, 1.5, 2.5, True, None,
    [], ["a"], ["a", "b"], ["a", 1], [1], [4], [True], [None], {}, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_it_changes_nothing(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {"type": "object", "properties": {"x": schema}}
    quick = compiled(whole)
    monkeypatch.setattr(values, "sure_of", lambda schema, looked: None)
    slow = compiled(whole)
    assert quick is not None and slow is not None
    for value in VALUES:
        assert said(quick, value) == said(slow, value), value


def said(check: Check, value: Any) -> list[str]:
    wrong = Findings(Effort())
    check({"x": value}, None, wrong)
    return [str(found.error) for found in wrong]


@pytest.mark.parametrize(
    ("form", "right", "wrong"),
    [
        ("email", ("a@b.c", "joe <a@b.c>", "a" * 200 + "@b.c"), ("a", "a@", "@b", "a@b, c@d", "(" * 900 + "@b.c")),
        ("duration", ("1h5m", "1.5s", ".5h", "22 seconds", "1 d"), ("1", "h", "1 x", "1" * 300_000)),
    ],
)
def test_formats_know_what_has_them(form: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert [text for text in right if not FORMATS[form](text)] == []
    assert [text[:9] for text in wrong if FORMATS[form](text)] == []


@pytest.mark.parametrize("value", [0, 0.0, 1e308])
def test_a_factor_that_is_nearly_nothing_is_no_trouble(value: float) -> None:
    check = compiled({"type": "object", "properties": {"x": {"type": "number", "multipleOf": 5e-324}}})
    assert check is not None and ["should be a multiple of" in told for told in said(check, value)] == [True]
