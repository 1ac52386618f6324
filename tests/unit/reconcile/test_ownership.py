from kybern.api.core_v1 import Pod
from kybern.api.selectors import of_labels
from kybern.reconcile.ownership import Claims, claims
from kybern.testing.builders import APP, pod, replicaset

OWNER = replicaset("web", 1)
OTHER = replicaset("other", 1)
NOW = "2026-01-01T00:00:00Z"


def claimed(owner: object, *pods: Pod) -> Claims[Pod]:
    return claims(owner, of_labels(APP), pods)


def test_a_free_pod_that_is_selected_is_adopted() -> None:
    free = pod("a")
    assert claimed(OWNER, free) == Claims([], [free], [])


def test_a_pod_of_somebody_else_is_left_alone() -> None:
    assert claimed(OWNER, pod("a", owner=OTHER)) == Claims([], [], [])


def test_a_pod_that_is_no_longer_selected_is_released() -> None:
    strayed = pod("a", owner=OWNER, labels={"app": "debug"})
    assert claimed(OWNER, strayed) == Claims([], [], [strayed])


def test_an_owner_that_is_being_deleted_keeps_what_it_has_and_takes_nothing() -> None:
    leaving = replicaset("web", 1, deletion_timestamp=NOW)
    strayed = pod("a", owner=OWNER, labels={"app": "debug"})
    assert claimed(leaving, strayed, pod("b")) == Claims([strayed], [], [])


def test_a_pod_that_is_being_deleted_is_not_adopted() -> None:
    assert claimed(OWNER, pod("a", deletion_timestamp=NOW)) == Claims([], [], [])
