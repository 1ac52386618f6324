"""Goal: every step of a rollout, as a table. Method: sizes by value; a ReplicaSet is (size, available)."""

from typing import Any

from kybern.api.apps_v1 import (
    Deployment,
    DeploymentSpec,
    DeploymentStrategy,
    ReplicaSet,
    ReplicaSetStatus,
    RollingUpdateDeployment,
)
from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.controllers.deployment import sizes
from kybern.controllers.deployment.sizes import fenceposts, proportional, rolling, scale
from kybern.testing.builders import APP, replicaset, template


def deployment(replicas: int, surge: int | str = "25%", unavailable: int | str = "25%", **spec: Any) -> Deployment:
    rolling_update = RollingUpdateDeployment(max_surge=surge, max_unavailable=unavailable)
    return Deployment(
        metadata=ObjectMeta(name="web", namespace="default", uid="u"),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels=APP),
            template=template(),
            strategy=DeploymentStrategy(type="RollingUpdate", rolling_update=rolling_update),
            **spec,
        ),
    )


def sized(name: str, size: int, available: int | None = None, noted: int = 0, most: int = 0) -> ReplicaSet:
    found = replicaset(name, size, annotations={sizes.DESIRED: str(noted), sizes.MAX: str(most)})
    status = ReplicaSetStatus(replicas=size, available_replicas=size if available is None else available)
    return ReplicaSet(metadata=found.metadata, spec=found.spec, status=status)


def test_surge_rounds_up_and_unavailable_rounds_down() -> None:
    assert fenceposts(deployment(10)) == sizes.Fenceposts(surge=3, unavailable=2)


def test_a_rollout_that_may_neither_surge_nor_lack_may_lack_one() -> None:
    assert fenceposts(deployment(10, surge=0, unavailable="1%")) == sizes.Fenceposts(surge=0, unavailable=1)


def test_the_new_replicaset_grows_as_far_as_the_surge_allows() -> None:
    assert rolling(deployment(4), sized("new", 0), [sized("old", 4)]) == {"new": 1}


def test_old_pods_go_once_enough_are_available() -> None:
    assert rolling(deployment(4), sized("new", 1, available=1), [sized("old", 4)]) == {"old": 2}


def test_old_pods_wait_for_new_ones_that_are_not_available() -> None:
    assert rolling(deployment(4, unavailable=0), sized("new", 1, available=0), [sized("old", 4)]) == {}


def test_unhealthy_old_pods_go_first() -> None:
    step = rolling(deployment(4, surge=1, unavailable=1), sized("new", 1, 1), [sized("a", 2, 0), sized("b", 2, 2)])
    assert step == {"a": 0}


def test_a_rollout_ends_with_the_new_replicaset_alone() -> None:
    wanted, new, old = deployment(10), sized("new", 0), sized("old", 10)
    for _ in range(20):
        step = rolling(wanted, new, [old])
        assert sum(step.get(rs.metadata.name or "", sizes.size_of(rs)) for rs in (new, old)) <= 13
        new, old = sized("new", step.get("new", sizes.size_of(new))), sized("old", step.get("old", sizes.size_of(old)))
    assert (sizes.size_of(new), sizes.size_of(old)) == (10, 0)


def test_scaling_in_the_middle_of_a_rollout_is_shared_by_size() -> None:
    active = [sized("old", 8, noted=10, most=12), sized("new", 4, noted=10, most=12)]
    assert proportional(deployment(20, surge=4), active) == {"old": 16, "new": 8}


def test_scaling_to_nothing_takes_everything() -> None:
    active = [sized("old", 8, noted=10, most=12), sized("new", 4, noted=10, most=12)]
    assert proportional(deployment(0), active) == {"old": 0, "new": 0}


def test_the_only_active_replicaset_is_scaled_alone() -> None:
    assert scale(deployment(7), sized("new", 0), [sized("old", 3)]) == {"old": 7}


def test_with_nothing_active_the_new_one_is_scaled() -> None:
    assert scale(deployment(7), sized("new", 0), [sized("old", 0)]) == {"new": 7}


def test_a_replicaset_notes_what_its_deployment_wanted() -> None:
    noted = sizes.resized(deployment(4), sized("new", 4), 4).metadata.annotations or {}
    assert (noted[sizes.DESIRED], noted[sizes.MAX]) == ("4", "5")
