from typing import Any

import pytest
from msgspec.structs import replace

from kybern.api.core_v1 import Pod, PodCondition, PodStatus
from kybern.api.errors import Forbidden, InternalError, TooManyRequests
from kybern.api.meta_v1 import Condition, LabelSelector, ObjectMeta
from kybern.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus
from kybern.apiserver.budgets import budget_of, costs_nothing, is_free, spent

NOW = "2026-01-01T00:00:00Z"


def pod(phase: str = "Running", *, ready: bool = True, **meta: Any) -> Pod:
    condition = PodCondition(type="Ready", status="True" if ready else "False")
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", labels={"app": "web"}, **meta),
        status=PodStatus(phase=phase, conditions=(condition,)),
    )


def budget(name: str = "b", *, policy: str | None = None, **status: Any) -> PodDisruptionBudget:
    given = {"observed_generation": 1, "disruptions_allowed": 1, "current_healthy": 3, "desired_healthy": 2} | status
    return PodDisruptionBudget(
        metadata=ObjectMeta(name=name, namespace="default", generation=1),
        spec=PodDisruptionBudgetSpec(
            selector=LabelSelector(match_labels={"app": "web"}), unhealthy_pod_eviction_policy=policy
        ),
        status=PodDisruptionBudgetStatus(**given),
    )


def test_a_pod_that_does_not_run_is_free() -> None:
    assert is_free(pod("Succeeded")) and is_free(pod("Pending")) and is_free(pod(deletion_timestamp=NOW))
    assert not is_free(pod())


def test_a_pod_has_one_budget_at_most() -> None:
    assert budget_of(pod(), []) is None
    assert budget_of(pod(), [budget()]) is not None
    with pytest.raises(InternalError, match="more than one PodDisruptionBudget"):
        budget_of(pod(), [budget("a"), budget("b")])


def test_an_eviction_is_taken_note_of() -> None:
    status = spent(budget(disruptions_allowed=2), "p", NOW).status
    assert (status.disruptions_allowed, status.disrupted_pods) == (1, {"p": NOW})


def test_the_last_eviction_is_told_in_a_condition() -> None:
    conditions = spent(budget(), "p", NOW).status.conditions or ()
    assert [(found.type, found.status, found.reason) for found in conditions] == [
        ("DisruptionAllowed", "False", "InsufficientPods")
    ]


def test_a_budget_that_is_used_up_refuses() -> None:
    with pytest.raises(TooManyRequests) as refused:
        spent(budget(disruptions_allowed=0, current_healthy=2), "p", NOW)
    assert refused.value.causes[0].message == "The disruption budget b needs 2 healthy pods and has 2 currently"
    assert refused.value.retry_after_seconds is None  # a client would wait in silence


@pytest.mark.parametrize(
    ("reason", "healthy", "why"),
    [
        ("SyncFailed", 0, "does not allow evicting pods currently because it failed sync: no scale"),
        ("Held", 3, "does not allow evicting pods currently (Held): no scale"),
        ("Held", 2, "needs 2 healthy pods and has 2 currently"),
    ],
)
def test_a_budget_that_refuses_says_why(reason: str, healthy: int, why: str) -> None:
    told = Condition(
        type="DisruptionAllowed", status="False", reason=reason, message="no scale", last_transition_time=NOW
    )
    with pytest.raises(TooManyRequests) as refused:
        spent(budget(disruptions_allowed=0, current_healthy=healthy, conditions=(told,)), "p", NOW)
    assert refused.value.causes[0].message == f"The disruption budget b {why}"


def test_a_budget_that_changed_is_not_believed_before_it_was_counted_anew() -> None:
    changed = budget()
    changed = replace(changed, metadata=replace(changed.metadata, generation=2))
    with pytest.raises(TooManyRequests) as refused:
        spent(changed, "p", NOW)
    assert "still being processed" in (refused.value.causes[0].message or "")
    assert refused.value.retry_after_seconds == 10


def test_evictions_that_never_show_do_not_pile_up() -> None:
    with pytest.raises(Forbidden) as refused:
        spent(budget(disrupted_pods={f"p{n}": NOW for n in range(2001)}), "p", NOW)
    assert [cause.reason for cause in refused.value.causes] == ["DisruptionBudgetTooManyDisruptedPods"]
    assert refused.value.message == (
        'poddisruptionbudget.policy "b" is forbidden: '
        "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
    )


def test_a_budget_that_allows_less_than_nothing_is_told_apart() -> None:
    with pytest.raises(Forbidden) as refused:
        spent(budget(disruptions_allowed=-1), "p", NOW)
    assert [cause.reason for cause in refused.value.causes] == ["DisruptionBudgetNegativeAllowedDisruptions"]


def test_a_pod_that_is_not_ready_may_go_while_enough_others_are() -> None:
    unready = pod(ready=False)
    assert costs_nothing(unready, budget())
    assert not costs_nothing(unready, budget(current_healthy=1))
    assert costs_nothing(unready, budget(current_healthy=1, policy="AlwaysAllow"))
    assert not costs_nothing(pod(), budget(policy="AlwaysAllow"))
