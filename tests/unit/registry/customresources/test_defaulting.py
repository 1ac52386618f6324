"""How long an object has become: whatever it consists of counts, and nothing for more than it takes."""

from typing import Any

import msgspec
import pytest

from kybern.registry.customresources.defaulting import Room, filling, is_longer


@pytest.mark.parametrize("part", ["", "text", 1, None, {}, [], {"a": ""}, [[]], [{}]], ids=str)
def test_whatever_an_object_consists_of_counts(part: Any) -> None:
    value = {"spec": [part] * 1_000}
    assert is_longer(value, 999)
    assert not is_longer(value, len(msgspec.json.encode(value)))


def test_a_value_is_completed_by_the_fields_that_it_has_however_many_the_schema_knows() -> None:
    asked: list[Any] = []

    class Asked(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    inner = {"type": "object", "properties": {"x": {"type": "integer", "default": 1}}}
    fill = filling({"properties": {f"p{index}": inner for index in range(100)}, "additionalProperties": inner})
    assert fill is not None
    found = fill(Asked(p7={}, other={}, p8=None, p9={"x": 2}, more=5), Room(1_000))
    assert found == {"p7": {"x": 1}, "other": {"x": 1}, "p9": {"x": 2}, "more": 5}
    assert len(asked) <= 5
