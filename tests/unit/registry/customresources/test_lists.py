"""Lists that are sets or maps: what in them is told twice, and what only looks alike is not."""

from typing import Any

import pytest

from kybern.registry.customresources.effort import Effort
from kybern.registry.customresources.lists import list_types
from kybern.registry.customresources.places import ROOT, Findings


def told(keys: tuple[str, ...], items: list[Any]) -> list[str]:
    kind = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}
    check = list_types({"type": "array", **(kind if keys else {"x-kubernetes-list-type": "set"})})
    assert check is not None
    wrong = Findings(Effort())
    check(items, ROOT, wrong)
    return [str(one.error) for one in wrong]


@pytest.mark.parametrize(
    ("keys", "items", "places"),
    [
        (("a",), [{"a": "x"}, {"a": "y"}, {"a": "x"}, {"a": "x"}], ["[2]"]),
        (("a",), [{"a": 1}, {"a": "1"}, {"a": True}, {"a": 1, "b": 2}], ["[3]"]),
        (("a",), [{}, {"b": 1}, None], ["[1]"]),
        (("a", "b"), [{"a": 1, "b": 2}, {"b": 1, "a": 2}, {"b": 2, "a": 1}], ["[2]"]),
        ((), ["x", "y", "x", 1, "1", 1, [1], [1]], ["[2]", "[5]", "[7]"]),
    ],
)
def test_what_comes_twice_is_told_once(keys: tuple[str, ...], items: list[Any], places: list[str]) -> None:
    assert [line.partition(":")[0] for line in told(keys, items)] == places


def test_the_keys_that_come_again_are_shown() -> None:
    [line] = told(("a",), [{"a": "x", "b": 1}, {"a": "x", "b": 2}])
    assert 'Duplicate value: {"a":"x"}' in line
