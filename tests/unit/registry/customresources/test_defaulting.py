"""How long an object has become: whatever it consists of counts, and nothing for more than it takes."""

from typing import Any

import msgspec
import pytest

from kybern.registry.customresources.defaulting import is_longer


@pytest.mark.parametrize("part", ["", "text", 1, None, {}, [], {"a": ""}, [[]], [{}]], ids=str)
def test_whatever_an_object_consists_of_counts(part: Any) -> None:
    value = {"spec": [part] * 1_000}
    assert is_longer(value, 999)
    assert not is_longer(value, len(msgspec.json.encode(value)))
