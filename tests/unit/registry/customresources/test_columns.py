"""The columns of custom kinds: what they show, and how far they go for it."""

from typing import Any

import pytest

from kybern.api.apiextensions_v1 import CustomResourceColumnDefinition
from kybern.api.codec import from_builtins
from kybern.api.custom import CustomObject
from kybern.registry.customresources import jsonpath
from kybern.registry.customresources.columns import ROW_BYTES_MAX, ROW_VALUES_MAX, columns

LIST = [{"x": "yes" if index == 5_000 else "no", "y": index, "z": [0] * 3} for index in range(6_000)]


def shown(spec: Any, *paths: str, **metadata: Any) -> list[Any]:
    obj: CustomObject = from_builtins(
        CustomObject, {"kind": "Widget", "apiVersion": "v1", "metadata": {"name": "a", **metadata}, "spec": spec}
    )
    defined = [CustomResourceColumnDefinition(name=path, type="string", json_path=path) for path in paths]
    return [column.cell(obj, 0.0) for column in columns(defined)][1:]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("[?(@.x=='yes')].y", "5000"), ("[*].y", "0"), ("[5999].y", "5999"), ("[-1].y", "5999"), ("[1:9:3].y", "1"),
        ("[?(@.y>=7)].y", "7"), ("[1].z[*]", "0"), ("[7000].y", None), ("[ 2 : ].y", "2"), ("[:].y", "0"), ("[?(@['y'] == 3 )].y", "3"),
        ("[?(@.z[0])].y", "0"),
    ],
)  # fmt: skip
def test_a_column_shows_what_its_path_leads_to_first(path: str, found: str | None) -> None:
    if path.startswith("[?(@.x"):
        assert 2 * len(LIST) > ROW_VALUES_MAX
        assert shown({"list": LIST}, f".spec.list{path}") == [None]
        assert shown({"list": LIST[4_000:]}, f".spec.list{path}") == [found]
    else:
        assert shown({"list": LIST}, f".spec.list{path}") == [found]


@pytest.mark.parametrize(
    "path",
    [
        "[?(@" + ".a" * 2_000 + " ~",
        "[?(@." + "\\a" * 2_000 + " ~",
        "[?(@.a==" + " " * 4_000 + "~",
        "[::" + " " * 4_000 + "x",
    ],
    ids=["names", "escapes", "spaces", "slice"],
)
def test_what_is_no_path_is_refused_without_reading_it_in_every_way(path: str) -> None:
    with pytest.raises(ValueError, match="unrecognized character"):
        jsonpath.parsed(path)


def test_the_more_columns_a_row_has_the_less_each_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    goes_on = jsonpath.Walk.goes_on

    def counting(walk: jsonpath.Walk) -> bool:
        seen.append(1)
        return goes_on(walk)

    monkeypatch.setattr(jsonpath.Walk, "goes_on", counting)
    paths = [f".spec.list[*].z[?(@.a=='{index}')].y" for index in range(200)]
    assert shown({"list": LIST}, *paths) == [None] * 200
    assert len(seen) < 2 * ROW_VALUES_MAX


def test_what_is_longer_than_a_row_is_not_shown() -> None:
    long = {"a": ["x" * 100] * (ROW_BYTES_MAX // 100)}
    assert shown(long, ".spec", ".spec.a[0]") == [None, "x" * 100]
    assert shown({"a": [1, {"b": True}]}, ".spec") == ['{"a":[1,{"b":true}]}']


def test_a_column_may_show_metadata() -> None:
    managers = [{"manager": "me", "operation": "Update"}]
    told = shown({}, ".metadata.name", ".metadata.managedFields[0].manager", ".metadata", managedFields=managers)
    assert told == ["a", "me", '{"name":"a"}']
