"""Admission plugins that look at owners, at how many events come, and at claims that want to grow."""

from typing import Any

import pytest
from plugins import Clock, Only, asked, inputs, plugin

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod
from kybern.api.errors import Forbidden, TooManyRequests
from kybern.api.storage_v1 import StorageClass
from kybern.apiserver.admission.order import NAMES, admission_plugins


def owned(of: Any = ConfigMap, /, **owner: Any) -> Any:
    owners = [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "1", **owner}] if owner else []
    return from_builtins(of, {"metadata": {"name": "a", "namespace": "x", "ownerReferences": owners}})


def event_limits(**limit: Any) -> Any:
    return {"EventRateLimit": {"limits": [limit]}}


OWNERS = "OwnerReferencesPermissionEnforcement"


async def test_whoever_may_not_delete_an_object_may_not_give_it_an_owner() -> None:
    with pytest.raises(Forbidden, match="cannot set an ownerRef on a resource you can't delete"):
        await plugin(OWNERS).validate(asked(owned(uid="1"), owned()))
    await plugin(OWNERS, authorizer=Only("delete configmaps x/a")).validate(asked(owned(uid="1"), owned()))
    await plugin(OWNERS).validate(asked(owned(uid="1"), owned(uid="1")))
    await plugin(OWNERS).validate(asked(owned(uid="1")))


async def test_whoever_may_not_set_the_owners_finalizers_may_not_hold_up_its_deletion() -> None:
    blocking = owned(blockOwnerDeletion=True)
    with pytest.raises(Forbidden, match="resource you can't set finalizers on"):
        await plugin(OWNERS).validate(asked(blocking))
    await plugin(OWNERS, authorizer=Only("update replicasets/finalizers x/web")).validate(asked(blocking))
    with pytest.raises(Forbidden, match='no matches for kind "Nothing"'):
        await plugin(OWNERS).validate(asked(owned(kind="Nothing", blockOwnerDeletion=True)))


async def test_a_kubelets_report_is_not_looked_at() -> None:
    await plugin(OWNERS).validate(asked(owned(Pod, uid="1"), owned(Pod), sub="status"))


def event(name: str = "e", host: str = "h") -> Event:
    return from_builtins(
        Event,
        {
            "metadata": {"name": name, "namespace": "x"},
            "involvedObject": {"kind": "Pod", "name": name},
            "source": {"component": "c", "host": host},
        },
    )


@pytest.mark.parametrize(
    ("kind", "key"), [("Server", ""), ("Namespace", "x"), ("User", "jane"), ("SourceAndObject", "chPode")]
)
async def test_events_are_limited_by_what_the_limit_counts(kind: str, key: str) -> None:
    clock = Clock()
    limited = plugin("EventRateLimit", clock=clock, configuration=event_limits(type=kind, qps=1, burst=2))
    await limited.validate(asked(event()))
    await limited.validate(asked(event()))
    with pytest.raises(TooManyRequests, match=f"limit reached on type {kind} for key {key}"):
        await limited.validate(asked(event()))
    clock.now += 1
    await limited.validate(asked(event()))
    await limited.validate(asked(owned()))


async def test_one_users_events_leave_others_alone_and_old_buckets_go() -> None:
    limited: Any = plugin("EventRateLimit", configuration=event_limits(type="User", qps=1, burst=1, cacheSize=3))
    for number in range(10):
        await limited.validate(asked(event(), user=f"user{number}"))
    assert len(limited.limits[0].held) == 3


def claim(storage: str, phase: str = "Bound") -> PersistentVolumeClaim:
    spec = {"storageClassName": "c", "resources": {"requests": {"storage": storage}}}
    return from_builtins(
        PersistentVolumeClaim, {"metadata": {"name": "a", "namespace": "x"}, "spec": spec, "status": {"phase": phase}}
    )


def storage_class(grows: bool) -> StorageClass:
    return from_builtins(StorageClass, {"metadata": {"name": "c"}, "provisioner": "p", "allowVolumeExpansion": grows})


async def test_a_claim_grows_only_when_bound_and_where_its_class_can() -> None:
    resize = "PersistentVolumeClaimResize"
    await plugin(resize, storage_class(True)).validate(asked(claim("2Gi"), claim("1Gi")))
    await plugin(resize).validate(asked(claim("1Gi"), claim("1024Mi")))
    with pytest.raises(Forbidden, match="must support resize"):
        await plugin(resize, storage_class(False)).validate(asked(claim("2Gi"), claim("1Gi")))
    with pytest.raises(Forbidden, match="must support resize"):
        await plugin(resize).validate(asked(claim("2Gi"), claim("1Gi")))
    with pytest.raises(Forbidden, match="Only bound persistent volume claims can be expanded"):
        await plugin(resize, storage_class(True)).validate(asked(claim("2Gi"), claim("1Gi", "Pending")))


def test_plugins_are_on_and_off_by_name() -> None:
    usual = [one.name for one in admission_plugins(inputs())]
    assert "EventRateLimit" not in usual and OWNERS not in usual
    assert [one.name for one in admission_plugins(inputs(), [OWNERS], ["PodSecurity"])] == [
        name for name in NAMES if name in {*usual, OWNERS} - {"PodSecurity"}
    ]
    for name in ("Nothing", "RBACEscalation"):
        with pytest.raises(ValueError, match="is unknown"):
            admission_plugins(inputs(), disabled=[name])


async def test_what_a_pod_asks_too_much_of_is_noted_for_the_audit_log() -> None:
    labels = {"pod-security.kubernetes.io/audit": "restricted", "pod-security.kubernetes.io/enforce": "baseline"}
    namespace = from_builtins(Namespace, {"metadata": {"name": "x", "labels": labels}})
    containers = [{"name": "c", "image": "i"}]
    pod = from_builtins(Pod, {"metadata": {"name": "a", "namespace": "x"}, "spec": {"containers": containers}})
    request = asked(pod)
    await plugin("PodSecurity", namespace).validate(request)
    prefix = "pod-security.kubernetes.io/"
    assert request.audit[f"{prefix}enforce-policy"] == "baseline:latest"
    noted = request.audit[f"{prefix}audit-violations"]
    assert noted.startswith('would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false')
