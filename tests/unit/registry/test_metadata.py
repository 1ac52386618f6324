from typing import Any

import pytest

from kybern.api import names
from kybern.api.codec import from_builtins
from kybern.api.meta_v1 import ObjectMeta
from kybern.registry.metadata import validate_metadata, validate_metadata_update

SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


def meta(**fields: Any) -> ObjectMeta:
    return from_builtins(ObjectMeta, {"name": "a", "namespace": "default", **fields})


def wrong(found: ObjectMeta, namespaced: bool = True) -> list[str]:
    return [str(error) for error in validate_metadata(found, namespaced)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"generateName": "a-"},
        {"labels": {"app.kubernetes.io/name": "x", "empty": ""}},
        {"annotations": {"Upper.Case/Key": "any text\nat all"}},
        {"finalizers": ["kubernetes", "example.com/f"]},
        {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "uid": "v"}]},
        {"managedFields": [{"operation": "Apply", "fieldsType": "FieldsV1"}]},
    ],
)
def test_good_metadata_is_accepted(fields: dict[str, Any]) -> None:
    assert wrong(meta(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": None}, "metadata.name: Required value: name or generateName is required"),
        ({"name": "A"}, f'metadata.name: Invalid value: "A": {SUBDOMAIN}'),
        ({"generateName": "AB-"}, f'metadata.generateName: Invalid value: "AB-": {SUBDOMAIN}'),
        ({"namespace": None}, "metadata.namespace: Required value"),
        ({"namespace": "a.b"}, 'metadata.namespace: Invalid value: "a.b": must not contain dots'),
        ({"labels": {"/x": "1"}}, 'metadata.labels: Invalid value: "/x": prefix part must be non-empty'),
        ({"labels": {"x": "y" * 64}}, f'metadata.labels: Invalid value: "{"y" * 64}": must be no more than 63 bytes'),
        ({"annotations": {"a": "x" * 262145}}, "metadata.annotations: Too long: may not be more than 262144 bytes"),
        (
            {"finalizers": ["mine"]},
            'metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully '
            "qualified",
        ),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: '
            "finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (
            {"ownerReferences": [{**OWNER, "uid": ""}]},
            'metadata.ownerReferences.uid: Invalid value: "": must not be empty',
        ),
        (
            {"ownerReferences": [{**OWNER, "apiVersion": ""}]},
            'metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty',
        ),
        ({"generation": -1}, "metadata.generation: Invalid value: -1: must be greater than or equal to 0"),
        (
            {"managedFields": [{"operation": "Create"}]},
            'metadata.managedFields[0].operation: Invalid value: "Create": must be `Apply` or `Update`',
        ),
    ],
)
def test_bad_metadata_is_refused_in_upstreams_words(fields: dict[str, Any], message: str) -> None:
    assert wrong(meta(**fields)) == [message]


def test_only_one_owner_can_be_the_controller() -> None:
    owners = [{**OWNER, "controller": True}, {**OWNER, "name": "q", "uid": "v", "controller": True}]
    (found,) = wrong(meta(ownerReferences=owners))
    assert found.endswith('Only one reference can have Controller set to true. Found "true" in references for p and q')


def test_an_event_cannot_own_anything() -> None:
    (found,) = wrong(meta(ownerReferences=[{**OWNER, "kind": "Event"}]))
    assert found.endswith("/v1, Kind=Event is disallowed from being an owner")


def test_a_namespace_is_refused_where_the_kind_has_none() -> None:
    assert wrong(meta(), namespaced=False) == ["metadata.namespace: Forbidden: not allowed on this type"]


def test_a_kind_may_have_its_own_rule_for_names() -> None:
    assert not list(validate_metadata(meta(name="system:admin"), True, names.path_segment))
    assert list(validate_metadata(meta(name="1a"), True, names.dns1035_label))


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        ({"name": "b"}, {}, 'metadata.name: Invalid value: "b": field is immutable'),
        ({"namespace": "x"}, {}, 'metadata.namespace: Invalid value: "x": field is immutable'),
        ({"uid": "2"}, {"uid": "1"}, 'metadata.uid: Invalid value: "2": field is immutable'),
        ({"generation": 1}, {"generation": 2}, "metadata.generation: Invalid value: 1: must not be decremented"),
        (
            {"creationTimestamp": "2026-01-02T00:00:00Z"}, {"creationTimestamp": "2026-01-01T00:00:00Z"},
            'metadata.creationTimestamp: Invalid value: "2026-01-02T00:00:00Z": field is immutable',
        ),
        (
            {"finalizers": ["a/b", "c/d"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            {"finalizers": ["a/b"], "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
            'found new finalizers []string{"c/d"}',
        ),
    ],
)  # fmt: skip
def test_identity_does_not_change(new: dict[str, Any], old: dict[str, Any], message: str) -> None:
    assert [str(error) for error in validate_metadata_update(meta(**new), meta(**old))] == [message]


def test_leaving_out_what_the_server_set_is_no_change() -> None:
    assert not list(validate_metadata_update(meta(), meta(uid="1", creationTimestamp="2026-01-01T00:00:00Z")))


def test_a_finalizer_may_go_while_the_object_is_being_deleted() -> None:
    deleted = meta(finalizers=["a/b"], deletionTimestamp="2026-01-01T00:00:00Z")
    assert not list(validate_metadata_update(meta(deletionTimestamp="2026-01-01T00:00:00Z"), deleted))
