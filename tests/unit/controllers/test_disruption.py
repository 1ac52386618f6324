"""Pods that several budgets select: told once, and without a look at every budget's selector."""

import pytest

from kybern.api.core_v1 import Pod
from kybern.api.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta
from kybern.api.policy_v1 import PodDisruptionBudget, PodDisruptionBudgetSpec
from kybern.api.selectors import Selector, of_label_selector
from kybern.controllers import disruption
from kybern.controllers.disruption import contested


def budget(name: str, selector: LabelSelector | None) -> PodDisruptionBudget:
    meta = ObjectMeta(name=name, namespace="default")
    return PodDisruptionBudget(metadata=meta, spec=PodDisruptionBudgetSpec(selector=selector))


def pod(name: str, **labels: str) -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="default", labels=labels))


WEB = LabelSelector(match_labels={"app": "web"})
BY_EXPRESSION = LabelSelector(match_expressions=(LabelSelectorRequirement(key="app", operator="Exists"),))
EVERYTHING = LabelSelector()


@pytest.mark.parametrize("other", [WEB, BY_EXPRESSION, EVERYTHING])
def test_the_first_of_the_budgets_tells_of_a_pod_that_others_select_too(other: LabelSelector) -> None:
    pods, first, second = [pod("a", app="web")], budget("a", WEB), budget("b", other)
    assert list(contested(first, pods, [first, second])) == pods
    assert list(contested(second, pods, [first, second])) == []


@pytest.mark.parametrize("other", [None, LabelSelector(match_labels={"app": "web", "tier": "front"})])
def test_budgets_about_other_pods_contest_nothing(other: LabelSelector | None) -> None:
    first, second = budget("a", WEB), budget("b", other)
    assert list(contested(first, [pod("a", app="web")], [first, second])) == []


def test_only_selectors_that_may_hold_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[LabelSelector | None] = []

    def noted(selector: LabelSelector | None) -> Selector:
        made.append(selector)
        return of_label_selector(selector)

    monkeypatch.setattr(disruption, "of_label_selector", noted)
    budgets = [budget(f"b{n}", LabelSelector(match_labels={"app": f"a{n}"})) for n in range(300)]
    assert list(contested(budgets[7], [pod("p", app="a7")], budgets)) == []
    assert not made
