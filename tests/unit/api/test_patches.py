import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api import apps_v1, core_v1, schema
from kybern.api.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge
from kybern.api.patches import apply_json_patch, apply_merge_patch, apply_strategic_patch

POD = schema.of(core_v1.Pod)
DEPLOYMENT = schema.of(apps_v1.Deployment)

# --- JSON patch: the examples of RFC 6902, appendix A ---


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
        ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        ({"foo": {"bar": 1, "waldo": 2}, "qux": {}}, [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
         {"foo": {"bar": 1}, "qux": {"thud": 2}}),
        ({"foo": ["all", "grass", "cows", "eat"]}, [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
         {"foo": ["all", "cows", "eat", "grass"]}),
        ({"baz": "qux", "foo": ["a", 2, "c"]},
         [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
         {"baz": "qux", "foo": ["a", 2, "c"]}),
        ({"foo": "bar"}, [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
         {"foo": "bar", "child": {"grandchild": {}}}),
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b", "value": 2}],
         {"a": {"b": 1}, "c": {"b": 2}}),
        ({}, [{"op": "test", "path": "/absent", "value": None}], {}),
    ],
)  # fmt: skip
def test_json_patch_operations(document: Any, patch: Any, expected: Any) -> None:
    before = copy.deepcopy(document)
    assert apply_json_patch(document, patch) == expected
    assert document == before


@pytest.mark.parametrize(
    ("document", "operation", "why"),
    [
        ({"a": 1}, {"op": "test", "path": "/a", "value": 2}, "testing value /a failed: test failed"),
        ({"a": 1}, {"op": "test", "path": "/a", "value": True}, "testing value /a failed: test failed"),
        ({"a": 1}, {"op": "remove", "path": "/b"}, "remove operation does not apply"),
        ({"a": 1}, {"op": "replace", "path": "/b", "value": 1}, "replace operation does not apply: doc is missing key: /b"),
        ({}, {"op": "add", "path": "/b/c", "value": 1}, 'add operation does not apply: doc is missing path: "/b/c"'),
        ({"a": "x"}, {"op": "add", "path": "/a/b", "value": 1}, "add operation does not apply"),
        ({"a": []}, {"op": "add", "path": "/a/1", "value": 1}, "Unable to access invalid index: 1"),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/01"}, "remove operation does not apply"),
        ({"a": {}}, {"op": "move", "from": "/a", "path": "/a/b"}, "cannot be moved into itself"),
        ({"a": 1}, {"op": "remove", "path": ""}, "whole document"),
        ({"a": 1}, {"op": "remove", "path": "a"}, "missing path"),
    ],
)  # fmt: skip
def test_a_json_patch_that_does_not_fit_is_invalid(document: Any, operation: Any, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        apply_json_patch(document, [operation])
    assert refused.value.message == "the server rejected our request due to an error in our request"
    assert why in str(refused.value.__cause__)


@pytest.mark.parametrize(
    "patch",
    [{}, "x", [1], [[]]],
)
def test_a_malformed_json_patch_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(BadRequest, match=r"json: cannot unmarshal (object|string|number|array) into Go value"):
        apply_json_patch({}, patch)


@pytest.mark.parametrize(
    "operation",
    [{"path": "/a"}, {"op": "jump", "path": "/a"}, {"op": "add", "path": 1, "value": 1}, {"op": "add", "path": "/a"},
     {"op": "move", "path": "/a"}, {"op": {}, "path": ""}],
)  # fmt: skip
def test_an_operation_that_says_too_little_is_invalid(operation: Any) -> None:
    with pytest.raises(Invalid, match="the server rejected our request due to an error in our request"):
        apply_json_patch({}, [operation])


def test_a_json_patch_has_a_limit_of_operations() -> None:
    with pytest.raises(RequestEntityTooLarge, match="is 10000, got 10001"):
        apply_json_patch({}, [{"op": "test", "path": "/a", "value": None}] * 10_001)


def test_a_patch_makes_nothing_deeper_than_a_body_may_be() -> None:
    deep: Any = {}
    for _ in range(150):
        deep = {"a": deep}
    patch = [{"op": "add", "path": "/a" * 151, "value": deep}]
    with pytest.raises(BadRequest, match="exceeded max depth"):
        apply_json_patch(deep, patch)
    assert apply_json_patch({}, [{"op": "add", "path": "/a", "value": deep}]) == {"a": deep}


def test_operations_that_move_long_lists_over_and_over_are_refused() -> None:
    patch = [{"op": "add", "path": "/0", "value": 1}] * 5_000
    assert len(apply_json_patch([0], patch)) == 5_001
    with pytest.raises(RequestEntityTooLarge, match="move too many items"):
        apply_json_patch([0] * 200_000, patch)


def test_a_short_patch_cannot_make_a_huge_document() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/x{n}"} for n in range(60)]
    with pytest.raises(Invalid) as refused:
        apply_json_patch({"a": {"s": "x" * 100}}, doubling)
    assert "exceeding the limit" in str(refused.value.__cause__)


# --- merge patch: the examples of RFC 7386, appendix A ---


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}), ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}), ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}), ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}), ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}), (["a", "b"], ["c", "d"], ["c", "d"]), ({"a": "b"}, ["c"], ["c"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}), ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)  # fmt: skip
def test_merge_patch_examples(document: Any, patch: Any, expected: Any) -> None:
    before = copy.deepcopy(document)
    assert apply_merge_patch(document, patch) == expected
    assert document == before


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=2), inner, max_size=3)),
    max_leaves=10,
)


@given(json_values, json_values)
def test_a_merge_patch_twice_is_a_merge_patch_once(document: Any, patch: Any) -> None:
    once = apply_merge_patch(document, patch)
    assert apply_merge_patch(once, patch) == once


# --- strategic merge patch ---


def containers(*named: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(named)}}


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [
        ({"metadata": {"labels": {"a": "1", "b": "2"}}}, {"metadata": {"labels": {"a": None, "c": "3"}}},
         {"metadata": {"labels": {"b": "2", "c": "3"}}}),
        (containers({"name": "a", "image": "1", "tty": True}), containers({"name": "a", "image": "2"}),
         containers({"name": "a", "image": "2", "tty": True})),
        (containers({"name": "a"}), containers({"name": "b"}), containers({"name": "b"}, {"name": "a"})),
        (containers({"name": "a"}, {"name": "b"}), containers({"name": "a", "$patch": "delete"}), containers({"name": "b"})),
        (containers({"name": "a"}, {"name": "b"}), containers({"$patch": "replace"}, {"name": "c"}), containers({"name": "c"})),
        (containers({"name": "a", "args": ["x", "y"]}), containers({"name": "a", "args": ["z"]}),
         containers({"name": "a", "args": ["z"]})),
        ({"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"finalizers": ["c"]}},
         {"metadata": {"finalizers": ["c", "a", "b"]}}),
        ({"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
         {"metadata": {"finalizers": ["b"]}}),
        ({"metadata": {"finalizers": ["a", "b"]}}, {"metadata": {"$setElementOrder/finalizers": ["b", "a"]}},
         {"metadata": {"finalizers": ["b", "a"]}}),
        (containers({"name": "a"}, {"name": "b"}, {"name": "own"}),
         {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
                   "containers": [{"name": "c", "image": "3"}]}},
         containers({"name": "b"}, {"name": "c", "image": "3"}, {"name": "a"}, {"name": "own"})),
        ({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
         {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}},
         {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}),
        ({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
         {"metadata": {"labels": {"b": "2"}}}),
        ({"metadata": {"labels": {"a": "1"}}}, {"metadata": {"labels": {"$patch": "delete"}}}, {"metadata": {"labels": {}}}),
        ({"spec": {"nodeSelector": None}}, {"spec": {"nodeSelector": {"a": "1"}}}, {"spec": {"nodeSelector": {"a": "1"}}}),
        ({}, containers({"name": "a", "command": None, "$patch": "merge"}), containers({"name": "a"})),
        ({"spec": {"tolerations": [{"key": "a"}]}}, {"spec": {"tolerations": [{"key": "b"}]}},
         {"spec": {"tolerations": [{"key": "b"}]}}),
        ({"foo": [1]}, {"foo": [2], "bar": {"x": None}}, {"foo": [2], "bar": {}}),
    ],
)  # fmt: skip
def test_strategic_merge(document: Any, patch: Any, expected: Any) -> None:
    before, sent = copy.deepcopy(document), copy.deepcopy(patch)
    assert apply_strategic_patch(document, patch, POD) == expected
    assert (document, patch) == (before, sent)


def test_the_strategy_of_a_deployment_retains_only_the_keys_it_is_told_to() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert apply_strategic_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


@pytest.mark.parametrize(
    "patch",
    [
        [], containers({"image": "x"}), containers({"name": "a", "$patch": "jump"}), containers({"name": "a"}, "x"),
        {"metadata": {"$patch": "jump"}}, {"metadata": {"$setElementOrder/finalizers": "x"}},
        {"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}},
        {"spec": {"$setElementOrder/containers": ["b"]}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": {}}},
        {"spec": {"$retainKeys": ["a"], "containers": []}}, {"spec": {"$retainKeys": "a"}},
        {"metadata": {"finalizers": [["x"]]}}, {"metadata": {"finalizers": [{"x": 1}]}},
    ],
)  # fmt: skip
def test_a_malformed_strategic_patch_is_a_bad_request(patch: Any) -> None:
    document = {**containers({"name": "a"}), "metadata": {"finalizers": ["f"]}}
    with pytest.raises(BadRequest):
        apply_strategic_patch(document, patch, POD)


@given(json_values, json_values)
def test_no_strategic_patch_fails_in_any_other_way(spec: Any, patch: Any) -> None:
    for document in (
        {"spec": spec},
        {"spec": {"containers": [spec]}},
        {"metadata": {"labels": spec, "finalizers": spec}},
    ):
        for change in (
            {"spec": patch},
            {"spec": {"containers": patch, "volumes": [patch]}},
            {"metadata": {"finalizers": patch}},
        ):
            try:
                apply_strategic_patch(document, change, POD)
            except ApiError as refused:
                assert refused.code == 400


def test_long_lists_merge_in_linear_time() -> None:
    many = [{"name": f"c{n}"} for n in range(20_000)]
    started = time.perf_counter()
    merged = apply_strategic_patch(containers(*many), containers(*reversed(many)), POD)
    assert len(merged["spec"]["containers"]) == 20_000
    assert time.perf_counter() - started < 5
