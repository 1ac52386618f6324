from typing import Any

from msgspec.structs import replace

from kybern.api.apps_v1 import (
    RollingUpdateStatefulSetStrategy,
    StatefulSet,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetStatus,
    StatefulSetUpdateStrategy,
)
from kybern.api.core_v1 import PersistentVolumeClaim, Pod
from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.controllers.statefulset.identity import (
    claim_owner,
    claims,
    identified,
    is_stale,
    new_pod,
    ordinal_of,
    owned_as,
)
from kybern.controllers.statefulset.plan import Ensemble, Plan, ensemble, plan, status_of
from kybern.reconcile import controller_ref
from kybern.reconcile.history import HASH, new_revision
from kybern.testing.builders import APP, pod, template

NOW = 1767226000.0


def statefulset(replicas: int, **spec: Any) -> StatefulSet:
    rolling = spec.pop("rolling", None)
    strategy = StatefulSetUpdateStrategy(type="RollingUpdate", rolling_update=rolling)
    given = {"update_strategy": strategy, "service_name": "db"} | spec
    return StatefulSet(
        metadata=ObjectMeta(name="db", namespace="default", uid="u"),
        spec=StatefulSetSpec(replicas=replicas, selector=LabelSelector(match_labels=APP), template=template(), **given),
    )


def member(ordinal: int, version: str = "new", *, up: bool = True, **more: Any) -> Pod:
    labels = {**APP, HASH: version}
    return pod(f"db-{ordinal}", ready=up, phase="Pending", labels=labels, **more)


def of(found: StatefulSet, *pods: Pod, current: str = "new") -> Ensemble:
    return ensemble(found, pods, current, "new", NOW)


def test_pods_come_one_after_the_other() -> None:
    assert plan(of(statefulset(3))) == Plan(create=[0])
    assert plan(of(statefulset(3), member(0, up=False))) == Plan()
    assert plan(of(statefulset(3), member(0))) == Plan(create=[1])


def test_in_parallel_pods_come_together() -> None:
    assert plan(of(statefulset(3, pod_management_policy="Parallel"))) == Plan(create=[0, 1, 2])


def test_the_last_pod_goes_first_and_alone() -> None:
    pods = [member(i) for i in range(4)]
    assert plan(of(statefulset(2), *pods)) == Plan(delete=[pods[3]])


def test_pods_are_replaced_from_the_last_one() -> None:
    pods = [member(i, "old") for i in range(3)]
    assert plan(of(statefulset(3), *pods, current="old")) == Plan(delete=[pods[2]])


def test_the_next_pod_is_replaced_when_the_last_one_is_up() -> None:
    waiting = [member(0, "old"), member(1, "old"), member(2, up=False)]
    assert plan(of(statefulset(3), *waiting, current="old")) == Plan()
    done = [member(0, "old"), member(1, "old"), member(2)]
    assert plan(of(statefulset(3), *done, current="old")) == Plan(delete=[done[1]])


def test_below_the_partition_nothing_is_replaced() -> None:
    rolling = RollingUpdateStatefulSetStrategy(partition=2)
    pods = [member(0, "old"), member(1, "old"), member(2)]
    assert plan(of(statefulset(3, rolling=rolling), *pods, current="old")) == Plan()


def test_a_pod_below_the_partition_comes_back_as_it_was() -> None:
    found = of(statefulset(3, rolling=RollingUpdateStatefulSetStrategy(partition=2)), current="old")
    assert [found.revision_for(ordinal) for ordinal in range(3)] == ["old", "old", "new"]


def test_on_delete_replaces_nothing() -> None:
    strategy = StatefulSetUpdateStrategy(type="OnDelete")
    assert plan(of(statefulset(1, update_strategy=strategy), member(0, "old"), current="old")) == Plan()


def test_a_failed_pod_is_replaced() -> None:
    failed = replace(member(0, up=False), status=replace(member(0).status, phase="Failed"))
    assert plan(of(statefulset(1), failed)) == Plan(delete=[failed])


def test_a_rollout_that_is_complete_makes_its_revision_the_current_one() -> None:
    found = replace(statefulset(1), status=StatefulSetStatus(current_revision="db-old"))
    status = status_of(of(found, member(0), current="old"))
    assert (status.current_revision, status.current_replicas) == ("new", 1)


def test_a_pod_bears_the_name_of_its_revision() -> None:
    owner = statefulset(1)
    revision = new_revision(owner, template(), 1, 0)
    assert (new_pod(owner, 0, revision).metadata.labels or {})[HASH] == revision.metadata.name


def test_an_adopted_pod_is_told_which_one_it_is() -> None:
    labels = identified(member(3)).metadata.labels or {}
    assert (labels["statefulset.kubernetes.io/pod-name"], labels["apps.kubernetes.io/pod-index"]) == ("db-3", "3")
    known = identified(member(3))
    assert identified(known) is known


def retaining(scaled: str, deleted: str) -> StatefulSet:
    policy = StatefulSetPersistentVolumeClaimRetentionPolicy(when_scaled=scaled, when_deleted=deleted)
    data = PersistentVolumeClaim(metadata=ObjectMeta(name="data"))
    return statefulset(1, persistent_volume_claim_retention_policy=policy, volume_claim_templates=(data,))


def test_claims_end_with_whom_the_policy_says() -> None:
    found, gone = member(0), member(1)
    owners = {
        (scaled, deleted): [
            owner and owner.kind
            for owner in (
                claim_owner(retaining(scaled, deleted), found, condemned=False),
                claim_owner(retaining(scaled, deleted), gone, condemned=True),
            )
        ]
        for scaled in ("Retain", "Delete")
        for deleted in ("Retain", "Delete")
    }
    assert owners == {
        ("Retain", "Retain"): [None, None],
        ("Retain", "Delete"): ["StatefulSet", "StatefulSet"],
        ("Delete", "Retain"): [None, "Pod"],
        ("Delete", "Delete"): ["StatefulSet", "Pod"],
    }


def test_a_claim_that_goes_with_the_pod_before_is_not_given_to_the_next() -> None:
    owner, before = retaining("Delete", "Retain"), member(1)
    (claim,) = claims(owner, 1)
    assert not is_stale(claim, "db-1")
    owned = owned_as(claim, owner, before, claim_owner(owner, before, condemned=True))
    assert is_stale(owned, "db-1")
    assert is_stale(replace(claim, metadata=replace(claim.metadata, deletion_timestamp="2026-01-01T00:00:00Z")), "db-1")


def test_a_claim_that_somebody_else_controls_is_left_alone() -> None:
    owner = retaining("Retain", "Delete")
    (claim,) = claims(owner, 0)
    other = replace(claim, metadata=replace(claim.metadata, owner_references=(controller_ref(member(9)),)))
    assert owned_as(other, owner, member(0), claim_owner(owner, member(0), condemned=False)) is other


def test_a_pod_has_a_name_a_host_and_its_own_claim() -> None:
    data = PersistentVolumeClaim(metadata=ObjectMeta(name="data"))
    owner = statefulset(1, volume_claim_templates=(data,))
    made = new_pod(owner, 3, new_revision(owner, template(), 1, 0))
    assert (made.metadata.name, made.spec.hostname, made.spec.subdomain) == ("db-3", "db-3", "db")
    assert (made.metadata.labels or {})["apps.kubernetes.io/pod-index"] == "3"
    assert [claim.metadata.name for claim in claims(owner, 3)] == ["data-db-3"]
    source = (made.spec.volumes or ())[0].persistent_volume_claim
    assert source is not None and source.claim_name == "data-db-3"
    assert ordinal_of(made) == 3


def test_in_parallel_all_old_pods_that_serve_nobody_are_replaced_at_once_and_others_as_may_be_missing() -> None:
    rolling = RollingUpdateStatefulSetStrategy(max_unavailable="50%")
    found = statefulset(5, pod_management_policy="Parallel", rolling=rolling)
    down = [member(ordinal, "old", up=False) for ordinal in (0, 1, 2)]
    assert plan(of(found, *down, member(3, "old"), member(4, "old"), current="old")).delete == down[::-1]
    up = [member(ordinal, "old") for ordinal in range(5)]
    assert plan(of(found, *up, current="old")).delete == [up[4], up[3]]  # half of five, rounded down
