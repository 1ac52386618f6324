"""A node's agent reads what its pods need, and no other node's."""

from typing import Any

import pytest
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod
from kybern.api.resource_v1 import ResourceSlice
from kybern.api.selectors import parse_fields
from kybern.api.storage_v1 import VolumeAttachment
from kybern.apiserver.auth.node import NodeAuthorizer, node_authorizer, node_of
from kybern.apiserver.bootstrap.rbac import node_rules
from kybern.apiserver.request import Attributes, User
from kybern.testing.memory_objects import MemoryObjects

ONE, TWO = (User(f"system:node:{node}", ("system:nodes",)) for node in ("n1", "n2"))
CONTAINER = {
    "name": "c",
    "image": "i",
    "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
    "envFrom": [{"configMapRef": {"name": "all"}}],
}
VOLUMES = [
    {"name": "a", "secret": {"secretName": "mounted"}},
    {"name": "b", "projected": {"sources": [{"configMap": {"name": "projected"}}]}},
    {"name": "c", "persistentVolumeClaim": {"claimName": "claim"}},
]


def build(kind: type[Any], body: dict[str, Any]) -> Any:
    return from_builtins(kind, body)


POD = build(
    Pod,
    {
        "metadata": {"name": "p", "namespace": "x"},
        "spec": {
            "nodeName": "n1", "serviceAccountName": "robot", "imagePullSecrets": [{"name": "pull"}],
            "containers": [CONTAINER], "volumes": VOLUMES,
        },
    },
)  # fmt: skip


def authorizer(*objects: Any) -> tuple[MemoryObjects, NodeAuthorizer]:
    held = MemoryObjects(*objects)
    return held, node_authorizer(held, node_rules())


def asks(verb: str, resource: str, name: str = "", user: User = ONE, **more: Any) -> Attributes:
    resource, _, subresource = resource.partition("/")
    given = {"namespace": "x", "version": "v1", **more}
    return Attributes(user=user, verb=verb, resource=resource, subresource=subresource, name=name, **given)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("secrets", "key"), ("secrets", "mounted"), ("secrets", "pull"), ("configmaps", "all"),
        ("configmaps", "projected"), ("persistentvolumeclaims", "claim"),
    ],
)  # fmt: skip
def test_a_node_reads_what_its_pods_name_until_they_are_gone(resource: str, name: str) -> None:
    objects, nodes = authorizer(POD)
    assert nodes.decide(asks("get", resource, name)).allowed
    assert not nodes.decide(asks("get", resource, name, namespace="y")).allowed
    assert not nodes.decide(asks("get", resource, name, user=TWO)).allowed
    assert not nodes.decide(asks("get", resource, "other")).allowed
    objects.remove(objects.get(Pod, "p", "x"))
    refused = nodes.decide(asks("get", resource, name))
    assert refused.reason == "no relationship found between node 'n1' and this object"


def test_secrets_are_read_one_by_one_and_never_written() -> None:
    _, nodes = authorizer(POD)
    assert nodes.decide(asks("watch", "secrets", "key")).allowed
    for verb, name in (("list", ""), ("watch", ""), ("update", "key"), ("delete", "key"), ("create", "")):
        assert not nodes.decide(asks(verb, "secrets", name)).allowed


def test_being_told_of_a_pod_twice_does_no_harm() -> None:
    objects, nodes = authorizer(POD)
    nodes.references.pod_changed(None, POD)
    objects.put(replace(objects.get(Pod, "p", "x"), spec=replace(POD.spec, volumes=None)))
    assert not nodes.decide(asks("get", "secrets", "mounted")).allowed
    objects.remove(objects.get(Pod, "p", "x"))
    assert not nodes.decide(asks("get", "secrets", "key")).allowed


def test_tokens_are_for_the_accounts_of_its_pods() -> None:
    _, nodes = authorizer(POD)
    assert nodes.decide(asks("create", "serviceaccounts/token", "robot")).allowed
    assert not nodes.decide(asks("create", "serviceaccounts/token", "admin")).allowed
    assert nodes.decide(asks("get", "serviceaccounts", "robot")).allowed, "its UID is in requests for certificates"
    assert not nodes.decide(asks("get", "serviceaccounts", "admin")).allowed
    assert not nodes.decide(asks("list", "serviceaccounts")).allowed


def test_a_volume_is_readable_through_its_claim() -> None:
    claim = build(PersistentVolumeClaim, {"metadata": {"name": "claim", "namespace": "x"}, "spec": {}})
    reference = {"claimRef": {"name": "claim", "namespace": "x"}}
    volume = build(PersistentVolume, {"metadata": {"name": "pv"}, "spec": reference})
    _, nodes = authorizer(POD, claim, volume)
    assert nodes.decide(asks("get", "persistentvolumes", "pv", namespace="")).allowed
    assert not nodes.decide(asks("get", "persistentvolumes", "other", namespace="")).allowed
    assert not nodes.decide(asks("list", "persistentvolumes", namespace="")).allowed


def test_a_volumes_secrets_are_readable_while_a_pod_has_its_claim() -> None:
    source = {
        "csi": {
            "driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "stage", "namespace": "drivers"},
            "controllerPublishSecretRef": {"name": "controllers", "namespace": "drivers"},
        }
    }  # fmt: skip
    volume = build(
        PersistentVolume,
        {"metadata": {"name": "pv"}, "spec": {**source, "claimRef": {"name": "claim", "namespace": "x"}}},
    )
    objects, nodes = authorizer(POD, volume)
    assert nodes.decide(asks("get", "secrets", "stage", namespace="drivers")).allowed
    assert not nodes.decide(asks("get", "secrets", "controllers", namespace="drivers")).allowed
    assert not nodes.decide(asks("get", "secrets", "stage", namespace="drivers", user=TWO)).allowed
    objects.put(replace(volume, spec=replace(volume.spec, claim_ref=None)))
    assert not nodes.decide(asks("get", "secrets", "stage", namespace="drivers")).allowed


def test_a_claim_for_devices_is_readable_by_the_name_it_was_made_with() -> None:
    claims = [{"name": "own", "resourceClaimName": "named"}, {"name": "made", "resourceClaimTemplateName": "t"}]
    made = {"resourceClaimStatuses": [{"name": "made", "resourceClaimName": "made-1"}]}
    _, nodes = authorizer(
        replace(
            POD,
            spec=replace(
                POD.spec, resource_claims=build(Pod, {"spec": {"resourceClaims": claims}}).spec.resource_claims
            ),
            status=build(Pod, {"status": made}).status,
        )
    )
    group = {"group": "resource.k8s.io"}
    for name, expected in (("named", True), ("made-1", True), ("made", False), ("t", False)):
        assert nodes.decide(asks("get", "resourceclaims", name, **group)).allowed is expected
    assert not nodes.decide(asks("list", "resourceclaims", **group)).allowed
    assert not nodes.decide(asks("get", "resourceclaims", "named", user=TWO, **group)).allowed


def test_attachments_and_slices_of_devices_are_of_the_node_that_they_name() -> None:
    held = [
        build(kind, {"metadata": {"name": f"of-{node}"}, "spec": {"nodeName": node}})
        for kind in (VolumeAttachment, ResourceSlice)
        for node in ("n1", "n2")
    ]
    _, nodes = authorizer(*held)
    storage, devices = {"group": "storage.k8s.io", "namespace": ""}, {"group": "resource.k8s.io", "namespace": ""}
    for name, expected in (("of-n1", True), ("of-n2", False), ("none", False)):
        assert nodes.decide(asks("get", "volumeattachments", name, **storage)).allowed is expected
        for verb in ("get", "update", "patch", "delete"):
            assert nodes.decide(asks(verb, "resourceslices", name, **devices)).allowed is expected
    assert not nodes.decide(asks("list", "volumeattachments", **storage)).allowed
    assert nodes.decide(asks("create", "resourceslices", **devices)).allowed
    for selector, expected in (
        ("spec.nodeName=n1", True),
        ("spec.nodeName=n2", False),
        ("spec.nodeName!=n1", False),
        ("", False),
    ):
        for verb in ("list", "watch", "deletecollection"):
            asked = asks(verb, "resourceslices", fields=parse_fields(selector).requirements, **devices)
            assert nodes.decide(asked).allowed is expected


def test_a_mirror_pod_gives_its_node_nothing() -> None:
    mirror = replace(POD, metadata=replace(POD.metadata, annotations={"kubernetes.io/config.mirror": "h"}))
    _, nodes = authorizer(mirror)
    assert nodes.decide(asks("get", "pods", "p")).allowed
    assert not nodes.decide(asks("get", "secrets", "key")).allowed
    assert not nodes.decide(asks("create", "serviceaccounts/token", "robot")).allowed


def test_leases_are_its_own() -> None:
    _, nodes = authorizer()
    lease = {"group": "coordination.k8s.io", "namespace": "kube-node-lease"}
    assert nodes.decide(asks("update", "leases", "n1", **lease)).allowed
    assert nodes.decide(asks("create", "leases", **lease)).allowed
    assert not nodes.decide(asks("update", "leases", "n2", **lease)).allowed
    assert not nodes.decide(asks("get", "leases", "n1", **{**lease, "namespace": "kube-system"})).allowed
    assert not nodes.decide(asks("list", "leases", **lease)).allowed


def test_the_rest_is_a_fixed_list() -> None:
    _, nodes = authorizer()
    assert nodes.decide(asks("patch", "nodes/status", "n1", namespace="")).allowed
    assert nodes.decide(asks("create", "events")).allowed
    assert not nodes.decide(asks("delete", "nodes", "n1", namespace="")).allowed
    assert not nodes.decide(asks("create", "deployments", group="apps")).allowed


def test_pods_and_nodes_are_readable_as_far_as_they_are_its_own() -> None:
    other = replace(POD, metadata=replace(POD.metadata, name="q"), spec=replace(POD.spec, node_name="n2"))
    waiting = replace(POD, metadata=replace(POD.metadata, name="w"), spec=replace(POD.spec, node_name=None))
    _, nodes = authorizer(POD, other, waiting)
    for name, expected in (("p", True), ("q", False), ("w", False), ("gone", True)):
        assert nodes.decide(asks("get", "pods", name)).allowed is expected
    for selector, expected in (
        ("spec.nodeName=n1", True), ("spec.nodeName==n1,status.phase=Running", True), ("", False),
        ("spec.nodeName=n2", False), ("spec.nodeName!=n1", False), ("metadata.name=p", False),
    ):  # fmt: skip
        for verb in ("list", "watch"):
            asked = asks(verb, "pods", namespace="", fields=parse_fields(selector).requirements)
            assert nodes.decide(asked).allowed is expected
    for name, expected in (("n1", True), ("n2", False), ("", False)):
        assert nodes.decide(asks("watch", "nodes", name, namespace="")).allowed is expected


@pytest.mark.parametrize(
    "user",
    [User("system:node:n1"), User("jane", ("system:nodes",)), User("system:node:", ("system:nodes",))],
)
def test_name_and_group_are_both_needed(user: User) -> None:
    _, nodes = authorizer(POD)
    assert node_of(user) == ""
    assert not nodes.decide(asks("get", "services", user=user)).allowed
