"""Server-side apply told as writes to one object: who wrote what, what came out, who owns it now."""

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kybern.api import apps_v1, core_v1, schema
from kybern.api.apply import apply, fields, track
from kybern.api.apply.managers import LAST_APPLIED, UPDATERS_MAX
from kybern.api.errors import BadRequest, Conflict

DEPLOYMENT = schema.of(apps_v1.Deployment)
CONFIG_MAP = schema.of(core_v1.ConfigMap)
POD = schema.of(core_v1.Pod)


class Object:
    """An object as the server keeps it, written to by several managers."""

    def __init__(self, node: schema.Node, api_version: str, kind: str) -> None:
        self.node, self.api_version, self.kind = node, api_version, kind
        self.live: dict[str, Any] | None = None
        self.seconds = 0

    def _document(self, parts: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": "x", "namespace": "default", **parts.get("metadata", {})}
        return {"apiVersion": self.api_version, "kind": self.kind, **parts, "metadata": metadata}

    def _now(self) -> str:
        self.seconds += 1
        return f"2026-01-01T00:{self.seconds // 60:02}:{self.seconds % 60:02}Z"

    def _store(self, document: dict[str, Any], entries: list[Any]) -> "Object":
        metadata = {**document["metadata"], "managedFields": entries}
        self.live = {**document, "metadata": metadata}
        return self

    def apply(self, manager: str, parts: dict[str, Any], force: bool = False, **options: Any) -> "Object":
        before = copy.deepcopy(self.live)
        found, entries = apply(
            self.live, self._document(parts), manager=manager, api_version=self.api_version, now=self._now(),
            schema=self.node, force=force, **options,
        )  # fmt: skip
        assert self.live == before, "the live object was changed in place"
        return self._store(found, entries)

    def update(self, manager: str, parts: dict[str, Any], subresource: str = "") -> "Object":
        new = self._document(parts)
        entries = track(
            self.live, new, manager=manager, api_version=self.api_version, now=self._now(), schema=self.node,
            subresource=subresource,
        )  # fmt: skip
        return self._store(new, entries)

    def get(self, *path: str | int) -> Any:
        found: Any = self.live
        for step in path:
            found = found[step]
        return found

    def owned(self, manager: str, operation: str | None = None) -> set[str]:
        assert self.live is not None
        return {
            fields.text(path)
            for entry in self.live["metadata"]["managedFields"]
            if entry["manager"] == manager and operation in (None, entry["operation"])
            for path in fields.paths(entry["fieldsV1"])
        }

    @property
    def managers(self) -> list[str]:
        assert self.live is not None
        return [entry["manager"] for entry in self.live["metadata"]["managedFields"]]


def deployment() -> Object:
    return Object(DEPLOYMENT, "apps/v1", "Deployment")


def config_map() -> Object:
    return Object(CONFIG_MAP, "v1", "ConfigMap")


def pod() -> Object:
    return Object(POD, "v1", "Pod")


def containers(*named: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(named)}}


# --- who owns what after an ordinary write ---


def test_a_creator_owns_everything_it_sent_but_no_names_and_versions() -> None:
    cm = config_map().update("kubectl-create", {"metadata": {"labels": {"a": "1"}, "uid": "u"}, "data": {"k": "v"}})
    assert cm.owned("kubectl-create") == {".metadata.labels", ".metadata.labels.a", ".data", ".data.k"}
    entry = cm.get("metadata", "managedFields", 0)
    assert entry == {
        "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:01Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:data": {".": {}, "f:k": {}}},
    }  # fmt: skip


def test_items_of_a_keyed_list_are_owned_by_their_key() -> None:
    p = pod().update("m", containers({"name": "a", "image": "1", "ports": [{"containerPort": 80}]}))
    assert p.owned("m") == {
        '.spec.containers[name="a"]', '.spec.containers[name="a"].name', '.spec.containers[name="a"].image',
        '.spec.containers[name="a"].ports', '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"]',
        '.spec.containers[name="a"].ports[containerPort=80,protocol="TCP"].containerPort',
    }  # fmt: skip


def test_an_atomic_list_and_an_atomic_map_have_one_owner() -> None:
    p = pod().update(
        "m", {"spec": {"containers": [], "tolerations": [{"key": "a"}], "imagePullSecrets": [{"name": "s"}]}}
    )
    assert p.owned("m") == {
        ".spec.containers", ".spec.tolerations", ".spec.imagePullSecrets", '.spec.imagePullSecrets[name="s"]',
    }  # fmt: skip


def test_a_writer_takes_what_it_changes_and_leaves_the_rest() -> None:
    cm = config_map().update("one", {"data": {"a": "1", "b": "1"}})
    cm.update("two", {"data": {"a": "1", "b": "2"}})
    assert cm.owned("one") == {".data", ".data.a"}
    assert cm.owned("two") == {".data.b"}


def test_what_is_removed_belongs_to_nobody() -> None:
    cm = config_map().update("one", {"data": {"a": "1", "b": "1"}})
    cm.update("two", {"data": {"a": "1"}})
    assert cm.owned("one") == {".data", ".data.a"}
    assert cm.managers == ["one"]


def test_a_manager_that_owns_nothing_any_more_has_no_entry() -> None:
    cm = config_map().update("one", {"data": {"a": "1"}}).update("two", {})
    assert cm.managers == []


def test_a_write_that_changes_nothing_changes_no_entry() -> None:
    cm = config_map().update("one", {"data": {"a": "1"}})
    before = cm.get("metadata", "managedFields")
    cm.update("two", {"data": {"a": "1"}, "metadata": {"resourceVersion": "7", "generation": 2}})
    assert cm.get("metadata", "managedFields") == before


def test_a_subresource_has_an_entry_of_its_own() -> None:
    d = deployment().update("m", {"spec": {"replicas": 1}})
    d.update("m", {"spec": {"replicas": 1}, "status": {"replicas": 1}}, subresource="status")
    entries = d.get("metadata", "managedFields")
    assert [(e["manager"], e.get("subresource")) for e in entries] == [("m", None), ("m", "status")]


def test_a_manager_that_writes_again_keeps_one_entry_with_the_later_time() -> None:
    cm = config_map().update("one", {"data": {"a": "1"}}).update("one", {"data": {"a": "1", "b": "2"}})
    assert cm.managers == ["one"]
    assert cm.owned("one") == {".data", ".data.a", ".data.b"}
    assert cm.get("metadata", "managedFields", 0, "time") == "2026-01-01T00:00:02Z"


def test_a_changed_item_of_a_list_is_owned_field_by_field() -> None:
    p = pod().update("one", containers({"name": "a", "image": "1"}, {"name": "b", "image": "1"}))
    p.update("two", containers({"name": "b", "image": "2"}, {"name": "a", "image": "1"}))
    assert p.owned("two") == {'.spec.containers[name="b"].image'}


def test_the_oldest_of_many_writers_share_one_entry() -> None:
    cm = config_map().update("m0", {"data": {"k0": "0"}})
    for n in range(1, UPDATERS_MAX + 5):
        cm.update(f"m{n}", {"data": {**cm.get("data"), f"k{n}": str(n)}})
    assert len(cm.managers) == UPDATERS_MAX
    assert cm.managers.count("ancient-changes") == 1
    assert {f".data.k{n}" for n in range(5)} <= cm.owned("ancient-changes")


def test_one_empty_entry_asks_to_forget_all_owners() -> None:
    cm = config_map().update("one", {"data": {"a": "1"}})
    cm.update("two", {"data": {"a": "1"}, "metadata": {"managedFields": [{}]}})
    assert cm.managers == []
    cm.update("two", {"data": {"a": "2"}})
    assert cm.managers == []


@pytest.mark.parametrize("step", ["data", "k:name", "k:[]", "v:", "i:x", "x:1", "f:", ".:", ""])
def test_what_is_no_set_of_fields_is_refused(step: str) -> None:
    cm = config_map().update("one", {"data": {"a": "1"}})
    with pytest.raises(BadRequest):
        cm.update("two", {"metadata": {"managedFields": [{"manager": "x", "fieldsV1": {"f:data": {step: {}}}}]}})


def test_a_client_may_hand_ownership_over() -> None:
    given = {"manager": "three", "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:data": {"f:a": {}}}}
    cm = config_map().update("one", {"data": {"a": "1"}})
    cm.update("two", {"data": {"a": "1"}, "metadata": {"managedFields": [given]}})
    assert cm.owned("three") == {".data.a"}
    assert cm.managers == ["three"]


# --- apply ---


def test_an_applier_owns_what_it_says_and_not_the_maps_around_it() -> None:
    cm = config_map().apply("a", {"data": {"k": "v"}, "metadata": {"labels": {"l": "1"}}})
    assert cm.owned("a", "Apply") == {".data.k", ".metadata.labels.l"}


def test_what_an_applier_no_longer_says_goes_away() -> None:
    cm = config_map().apply("a", {"data": {"k": "1", "l": "1"}}).apply("a", {"data": {"k": "1"}})
    assert cm.get("data") == {"k": "1"}
    assert cm.owned("a") == {".data.k"}


def test_what_somebody_else_owns_too_stays() -> None:
    cm = (
        config_map()
        .apply("a", {"data": {"k": "1", "l": "1"}})
        .apply("b", {"data": {"l": "1"}})
        .apply("a", {"data": {"k": "1"}})
    )
    assert cm.get("data") == {"k": "1", "l": "1"}
    assert cm.owned("a") == {".data.k"}
    assert cm.owned("b") == {".data.l"}


def test_what_others_set_stays_untouched() -> None:
    cm = config_map().update("one", {"data": {"own": "1"}}).apply("a", {"data": {"k": "1"}}).apply("a", {})
    assert cm.get("data") == {"own": "1"}


def test_a_different_value_of_an_owned_field_is_a_conflict() -> None:
    d = deployment().update("kubectl-client-side-apply", {"spec": {"replicas": 1}})
    with pytest.raises(Conflict) as refused:
        d.apply("a", {"spec": {"replicas": 2}})
    assert refused.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas'
    )
    cause = refused.value.causes[0]
    assert (cause.reason, cause.field_) == ("FieldManagerConflict", ".spec.replicas")
    assert cause.message == 'conflict with "kubectl-client-side-apply" using apps/v1'
    assert refused.value.status().reason == "Conflict"


def test_several_conflicts_are_listed_by_manager() -> None:
    d = deployment().apply("b", {"spec": {"replicas": 1, "paused": True}})
    d.update("c", {"spec": {"replicas": 1, "paused": True, "minReadySeconds": 1}}, subresource="status")
    with pytest.raises(Conflict) as refused:
        d.apply("a", {"spec": {"replicas": 2, "paused": False, "minReadySeconds": 2}})
    assert refused.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "b":\n- .spec.replicas\n- .spec.paused\n'
        'conflicts with "c" with subresource "status" using apps/v1:\n- .spec.minReadySeconds'
    )


def test_the_same_value_is_shared_without_conflict() -> None:
    d = deployment().apply("a", {"spec": {"replicas": 1}}).apply("b", {"spec": {"replicas": 1}})
    assert d.owned("a") == d.owned("b") == {".spec.replicas"}


def test_force_takes_the_field_over() -> None:
    d = deployment().apply("a", {"spec": {"replicas": 1}}).apply("b", {"spec": {"replicas": 2}}, force=True)
    assert d.get("spec", "replicas") == 2
    assert d.managers == ["b"]


def test_an_ordinary_write_takes_a_field_from_an_applier_and_the_applier_then_conflicts() -> None:
    d = deployment().apply("a", {"spec": {"replicas": 1}}).update("scaler", {"spec": {"replicas": 5}})
    assert d.owned("a") == set()
    with pytest.raises(Conflict):
        d.apply("a", {"spec": {"replicas": 1}})
    d.apply("a", {"spec": {"paused": True}})
    assert d.get("spec") == {"replicas": 5, "paused": True}


def test_items_of_a_keyed_list_merge_and_go_with_their_applier() -> None:
    p = pod().apply("a", containers({"name": "a", "image": "1"})).apply("b", containers({"name": "b", "image": "2"}))
    assert [c["name"] for c in p.get("spec", "containers")] == ["a", "b"]
    p.apply("a", containers())
    assert p.get("spec", "containers") == [{"name": "b", "image": "2"}]


def test_defaults_that_nobody_owns_go_with_their_item() -> None:
    p = pod().apply("a", containers({"name": "a", "image": "1"}, {"name": "b", "image": "1"}))
    for container in p.get("spec", "containers"):
        container["imagePullPolicy"] = "Always"
    p.apply("a", containers({"name": "b", "image": "1"}))
    assert p.get("spec", "containers") == [{"name": "b", "image": "1", "imagePullPolicy": "Always"}]


def test_an_item_stays_while_somebody_owns_a_field_of_it() -> None:
    p = (
        pod()
        .apply("a", containers({"name": "a", "image": "1", "tty": True}))
        .apply("b", containers({"name": "a", "stdin": True}))
    )
    p.apply("a", containers())
    assert p.get("spec", "containers") == [{"name": "a", "stdin": True}]


def test_an_item_that_stays_keeps_its_key() -> None:
    p = pod().apply("a", containers({"name": "a"})).update("m", containers({"name": "a", "image": "1"}))
    p.apply("a", {})
    assert p.get("spec", "containers") == [{"name": "a", "image": "1"}]


def test_applied_items_keep_their_order_among_those_of_others() -> None:
    p = pod().update("m", containers({"name": "x"}, {"name": "a"}, {"name": "y"}))
    p.apply("z", containers({"name": "b"}, {"name": "a"}, {"name": "c"}))
    assert [c["name"] for c in p.get("spec", "containers")] == ["x", "b", "a", "y", "c"]


def test_sets_unite_and_shrink() -> None:
    cm = (
        config_map()
        .apply("a", {"metadata": {"finalizers": ["f/1"]}})
        .apply("b", {"metadata": {"finalizers": ["f/2", "f/1"]}})
    )
    assert sorted(cm.get("metadata", "finalizers")) == ["f/1", "f/2"]
    cm.apply("b", {})
    assert cm.get("metadata", "finalizers") == ["f/1"]
    assert cm.owned("a") == {'.metadata.finalizers[="f/1"]'}


def test_an_atomic_list_is_replaced_and_conflicts_as_a_whole() -> None:
    p = pod().apply("a", {"spec": {"tolerations": [{"key": "a"}]}})
    with pytest.raises(Conflict, match=r"\.spec\.tolerations$"):
        p.apply("b", {"spec": {"tolerations": [{"key": "b"}]}})
    p.apply("b", {"spec": {"tolerations": [{"key": "b"}]}}, force=True)
    assert p.get("spec", "tolerations") == [{"key": "b"}]
    assert p.owned("a") == set()


def test_an_atomic_map_is_replaced_as_a_whole() -> None:
    d = deployment().apply("a", {"spec": {"selector": {"matchLabels": {"a": "1"}}}})
    d.apply("a", {"spec": {"selector": {"matchLabels": {"b": "1"}}}})
    assert d.get("spec", "selector") == {"matchLabels": {"b": "1"}}
    assert d.owned("a") == {".spec.selector"}


def test_an_empty_struct_is_owned_itself() -> None:
    p = pod().apply("a", {"spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}})
    assert p.owned("a") == {
        '.spec.volumes[name="v"]',
        '.spec.volumes[name="v"].name',
        '.spec.volumes[name="v"].emptyDir',
    }


def test_a_struct_that_only_its_applier_filled_goes_whole() -> None:
    p = pod().apply("a", {"spec": {"securityContext": {"runAsUser": 1}}})
    p.get("spec", "securityContext")["fsGroupChangePolicy"] = "Always"
    p.apply("a", {"spec": {}})
    assert "securityContext" not in p.get("spec")


def test_the_first_apply_finds_the_owner_of_what_was_there_before() -> None:
    cm = config_map()
    cm.live = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"old": "1"}}
    with pytest.raises(Conflict, match=r'"before-first-apply" using v1: .data.old'):
        cm.apply("a", {"data": {"old": "2"}})
    cm.apply("a", {"data": {"new": "1"}})
    assert cm.owned("before-first-apply") == {".data", ".data.old"}


def test_an_object_that_was_never_tracked_stays_untracked() -> None:
    cm = config_map()
    cm.live = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"old": "1"}}
    assert cm.update("m", {"data": {"old": "2"}}).managers == []


def test_applying_the_same_again_changes_nothing() -> None:
    d = deployment().apply("a", {"spec": {"replicas": 1}, "metadata": {"labels": {"x": "y"}}})
    before = d.live
    d.apply("a", {"spec": {"replicas": 1}, "metadata": {"labels": {"x": "y"}}})
    assert d.live == before


def test_kubectl_takes_over_what_it_applied_from_the_clients_side() -> None:
    said = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": {"replicas": 1}}
    d = deployment().update(
        "kubectl-client-side-apply",
        {"metadata": {"annotations": {LAST_APPLIED: json.dumps(said)}}, "spec": {"replicas": 1, "paused": True}},
    )
    with pytest.raises(Conflict, match=r"with 1 conflict: .*: .spec.paused"):
        d.apply("kubectl", {"spec": {"replicas": 2, "paused": False}})
    d.apply("kubectl", {"spec": {"replicas": 2}})
    assert d.get("spec", "replicas") == 2
    assert json.loads(d.get("metadata", "annotations", LAST_APPLIED))["spec"] == {"replicas": 2}


def test_another_manager_than_kubectl_has_no_such_privilege() -> None:
    d = deployment().update(
        "kubectl-client-side-apply", {"metadata": {"annotations": {LAST_APPLIED: "{}"}}, "spec": {"replicas": 1}}
    )
    with pytest.raises(Conflict):
        d.apply("a", {"spec": {"replicas": 2}})


def test_two_texts_of_one_quantity_are_no_conflict() -> None:
    limits = {"name": "a", "resources": {"limits": {"cpu": "500m"}}}
    p = (
        pod()
        .update("m", containers(limits))
        .apply("a", containers({**limits, "resources": {"limits": {"cpu": "0.5"}}}))
    )
    assert p.get("spec", "containers", 0, "resources", "limits", "cpu") == "500m"
    with pytest.raises(BadRequest, match="quantities must match"):
        p.apply("a", containers({**limits, "resources": {"limits": {"cpu": "much"}}}))


def test_managed_fields_are_not_applied() -> None:
    with pytest.raises(BadRequest, match=r"metadata.managedFields must be nil"):
        config_map().apply("a", {"metadata": {"managedFields": [{"manager": "x"}]}})


def test_what_a_request_cannot_set_is_neither_merged_nor_owned() -> None:
    d = deployment().apply("a", {"spec": {"replicas": 1}, "status": {"replicas": 9}}, ignored=("status",))
    assert "status" not in (d.live or {})
    assert d.owned("a") == {".spec.replicas"}


def test_a_custom_resource_merges_by_its_own_schema() -> None:
    items = {"type": "object", "properties": {"id": {"type": "string"}, "v": {"type": "integer"}}}
    listed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"], "items": items}
    node = schema.of_custom_resource(
        {"type": "object", "properties": {"spec": {"type": "object", "properties": {"list": listed}}}}
    )
    thing = Object(node, "example.com/v1", "Thing").apply("a", {"spec": {"list": [{"id": "1", "v": 1}]}})
    thing.apply("b", {"spec": {"list": [{"id": "2", "v": 2}]}})
    assert thing.get("spec", "list") == [{"id": "1", "v": 1}, {"id": "2", "v": 2}]
    assert thing.owned("b") == {'.spec.list[id="2"]', '.spec.list[id="2"].id', '.spec.list[id="2"].v'}


# --- invariants ---

names = st.sampled_from("abcd")
parts = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={
            "labels": st.dictionaries(names, names, max_size=3),
            "finalizers": st.lists(names, unique=True, max_size=3),
        }),
        "spec": st.fixed_dictionaries({"containers": st.lists(
            st.fixed_dictionaries({"name": names}, optional={"image": names, "args": st.lists(names, max_size=2)}),
            unique_by=lambda c: c["name"], max_size=3,
        )}),
    },
)  # fmt: skip
writes = st.lists(st.tuples(st.sampled_from(["apply", "update"]), st.sampled_from(["m", "n"]), parts), max_size=6)


@given(writes, parts)
def test_what_is_applied_is_there_and_is_owned_whatever_happened_before(
    before: list[Any], last: dict[str, Any]
) -> None:
    p = pod()
    for how, manager, document in before:
        p = p.apply(manager, document, force=True) if how == "apply" else p.update(manager, document)
    p.apply("z", last, force=True)
    for key, value in last.get("metadata", {}).get("labels", {}).items():
        assert p.get("metadata", "labels", key) == value
        assert f".metadata.labels.{key}" in p.owned("z")
    found = {c["name"]: c for c in p.get("spec", "containers")} if last.get("spec", {}).get("containers") else {}
    for container in last.get("spec", {}).get("containers", []):
        said = {key: value for key, value in container.items() if value != []}  # an empty list is not stored
        assert found[container["name"]].items() >= said.items()
    again = p.live
    p.apply("z", last)
    assert p.live == again


@given(parts)
def test_what_one_applier_made_it_can_take_away(document: dict[str, Any]) -> None:
    p = pod().apply("m", {}).apply("z", document).apply("z", {})
    assert p.managers == []
    assert {key: value for key, value in p.get("metadata").items() if value and key not in ("name", "namespace")} == {}
    assert not p.live or not p.live.get("spec", {}).get("containers")


sets = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(st.sampled_from(["f:a", "f:b", "f:c", "."]), inner, max_size=3),
    max_leaves=8,
).map(lambda tree: {k: v for k, v in _normal(tree).items() if k != "."})


def _normal(tree: dict[str, Any]) -> dict[str, Any]:
    found = {step: {} if step == "." else _normal(branch) for step, branch in tree.items()}
    return {} if found.keys() == {"."} else found


@given(sets, sets)
def test_set_operations_agree_with_those_on_paths(one: fields.Fields, other: fields.Fields) -> None:
    a, b = set(fields.paths(one)), set(fields.paths(other))
    assert set(fields.paths(fields.union(one, other))) == a | b
    assert set(fields.paths(fields.minus(one, other))) == a - b
    assert set(fields.paths(fields.common(one, other))) == a & b


def test_tracking_a_create_is_cheap() -> None:
    """A generous bound: every write pays it."""
    body = {"kind": "ConfigMap", "metadata": {"name": "x", "labels": {"a": "b"}}, "data": {"k": "v"}}
    started = time.perf_counter()
    for _ in range(500):
        track(None, body, manager="m", api_version="v1", now="n", schema=CONFIG_MAP)
    assert (time.perf_counter() - started) / 500 < 0.001
