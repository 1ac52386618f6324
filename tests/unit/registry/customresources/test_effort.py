"""How much judging an object may take, and that it does not take more than it has parts."""

from typing import Any

import pytest

from kybern.aio.beside import TakesLong, at_once
from kybern.api.codec import from_builtins
from kybern.api.custom import CustomObject
from kybern.api.errors import About, invalid
from kybern.api.invalid import FieldError, required
from kybern.registry.customresources import validating
from kybern.registry.customresources.correlation import Correlation
from kybern.registry.customresources.effort import SLICE, SLICE_AT_ONCE, TOLD_MAX, Effort, TooMuch
from kybern.registry.customresources.validating import TOO_MUCH, Validation

LIST: Any = {"type": "array", "items": {"type": "integer"}}


def widget(spec: Any) -> CustomObject:
    return from_builtins(CustomObject, {"kind": "Widget", "apiVersion": "v1", "spec": spec})


def judging(schema: Any) -> Validation:
    return Validation({"type": "object", "properties": {"spec": schema}}, lambda obj: (), lambda obj: ())


def test_it_ends_when_it_has_taken_too_long_and_not_before() -> None:
    now = [0.0]
    effort = Effort(clock=lambda: now[0])
    for _ in range(10):
        effort.spend(SLICE)
    now[0] = 1.0
    with pytest.raises(TooMuch):
        effort.spend(2 * SLICE)


def test_while_others_wait_little_is_begun() -> None:
    now = [0.0]
    effort = at_once(lambda: Effort(clock=lambda: now[0]))
    effort.spend(SLICE_AT_ONCE + 1)
    with pytest.raises(TakesLong):
        effort.spend(3 * SLICE_AT_ONCE)


def test_a_long_text_is_not_looked_at_for_its_format_while_others_wait() -> None:
    moments = judging({"type": "string", "format": "duration"})
    assert at_once(lambda: moments.of_new(widget("1h" * 500))) == []
    with pytest.raises(TakesLong):
        at_once(lambda: moments.of_new(widget("1h" * 7_500)))
    assert moments.of_new(widget("1h" * 7_500)) == []


def test_of_very_much_that_is_wrong_the_first_is_told() -> None:
    errors = judging(LIST).of_new(widget(["x"] * 50_000))
    assert sum(len(error.body) for error in errors) < 2 * TOLD_MAX
    assert errors[0].field == "spec[0]" and errors[-1] == TOO_MUCH


def test_what_was_wrong_before_a_change_is_not_told_and_bounded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    keyed: Any = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}},
    }  # fmt: skip
    items = [{"k": f"{index:0100}", "v": "wrong"} for index in range(2_000)]
    old, new = widget(items), widget([*items, {"k": "new"}])
    assert sum(len(error.body) for error in judging(keyed).of_new(new)) > TOLD_MAX // 2
    assert judging(keyed).of_change(new, old) == []
    monkeypatch.setattr(validating, "CONSIDERED_MAX", 10_000)
    assert judging(keyed).of_change(new, old)[-1] == TOO_MUCH


@pytest.mark.parametrize("junctor", ["anyOf", "oneOf"])
def test_alternatives_that_a_value_is_none_of_cost_it_nothing(junctor: str) -> None:
    either = {
        "type": "array",
        "items": {"type": "string", junctor: [{"pattern": f"^{'x' * 90}{i}$"} for i in range(9)]},
    }
    assert judging(either).of_new(widget(["x" * 90 + "8"] * 3_000)) == []
    told = judging(either).of_new(widget(["x" * 90 + "9"] * 3_000))
    assert told[-1] == TOO_MUCH and sum(len(error.body) for error in told) < 2 * TOLD_MAX


def test_each_part_is_compared_with_its_former_state_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []
    within = Correlation.same_within

    def counting(self: Correlation, one: Any, other: Any) -> bool:
        compared.append(1)
        return within(self, one, other)

    monkeypatch.setattr(Correlation, "same_within", counting)
    keyed: Any = {
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": {"type": "integer"}, "v": {"type": "integer"}}},
    }  # fmt: skip
    old = widget([{"k": index, "v": "wrong"} for index in range(500)])
    new = widget([{"k": index, "v": "wrong"} for index in reversed(range(500))])
    assert judging(keyed).of_change(new, old) == []
    assert len(compared) < 2 * 500


def test_a_response_tells_so_much_of_what_is_wrong() -> None:
    errors = [required(f"spec.{index:04}{'x' * 1_000}") for index in range(1_000)]
    told = invalid(About(kind="Widget", name="a"), errors)
    assert len(told.message) < 200_000
    assert told.message.endswith("more errors were truncated]")
    long = FieldError("spec", "FieldValueInvalid", "x" * 1_000_000)
    assert invalid(About(), [long]).message.endswith("x" * 1_000_000)
