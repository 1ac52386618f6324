"""The arithmetic of HorizontalPodAutoscalers: values and pods in, replicas out. Method: upstream's own cases, by value."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from kybern.api.autoscaling_v2 import (
    HorizontalPodAutoscalerBehavior,
    HPAScalingPolicy,
    HPAScalingRules,
    MetricIdentifier,
)
from kybern.api.core_v1 import Pod, ResourceRequirements
from kybern.api.meta_v1 import LabelSelector, LabelSelectorRequirement
from kybern.api.selectors import parse_labels
from kybern.api.shape import Quantity
from kybern.controllers.horizontalpodautoscaler import sharing_pods
from kybern.controllers.horizontalpodautoscaler.behavior import Bounds, Memory, Past, decide, note_scaling
from kybern.controllers.horizontalpodautoscaler.metrics import PodUsage, seconds_of, used
from kybern.controllers.horizontalpodautoscaler.proposals import outside, thousandths
from kybern.controllers.horizontalpodautoscaler.replicas import (
    NoProposal,
    Sample,
    Tolerance,
    by_average,
    by_share,
    by_utilization,
    by_value,
    grouped,
    requests_of,
)
from kybern.reconcile import Key
from kybern.testing.builders import pod

NOW = 1_767_225_600.0 + 3600  # an hour after the builders' pods became ready
TOLERANCE = Tolerance()


def running(name: str) -> Pod:
    made = pod(name, ready=True)
    return replace(made, status=replace(made.status, start_time="2026-01-01T00:00:00Z"))


def samples(values: Mapping[str, int]) -> dict[str, Sample]:
    return {name: Sample(value, NOW) for name, value in values.items()}


def utilization(pods: list[Pod], values: Mapping[str, int], percent: int, current: int | None = None) -> int:
    found = samples(values)
    asked = {made.metadata.name or "": 1000 for made in pods}
    groups = grouped(pods, found, "cpu", NOW)
    return by_utilization(current or len(pods), percent, found, asked, groups, TOLERANCE)[0]


def test_pods_that_use_more_than_their_target_become_more() -> None:
    pods = [running(name) for name in "abc"]
    assert utilization(pods, {"a": 300, "b": 500, "c": 700}, 30) == 5


def test_a_small_difference_changes_nothing() -> None:
    pods = [running(name) for name in "abc"]
    assert utilization(pods, {"a": 1010, "b": 1030, "c": 1020}, 100) == 3


def test_tolerance_may_differ_by_direction() -> None:
    pods, found = [running("a"), running("b")], samples({"a": 1150, "b": 1150})
    groups = grouped(pods, found, "", NOW)
    assert by_average(2, 1000, found, groups, Tolerance(up=0.2))[0] == 2
    assert by_average(2, 1000, found, groups, Tolerance(up=0.05))[0] == 3


def test_a_pod_without_a_sample_counts_as_idle_when_growing_and_as_busy_when_shrinking() -> None:
    pods = [running(name) for name in "abcd"]
    assert utilization(pods, {"a": 1000, "b": 1000, "c": 1000}, 30) == 10  # (3 x 100 %) / 4 pods / 30 %
    assert utilization(pods, {"a": 100, "b": 100, "c": 100}, 50) == 3  # (3 x 10 % + 100 %) / 4 pods / 50 %


def test_a_pod_that_is_only_starting_counts_as_idle() -> None:
    pods = [running("a"), running("b"), pod("c")]
    assert utilization(pods, {"a": 500, "b": 700, "c": 900}, 30) == 4


def test_new_numbers_never_turn_the_direction() -> None:
    pods = [running("a"), running("b"), pod("c"), pod("d")]
    assert utilization(pods, {"a": 700, "b": 500}, 50) == 4


def test_pods_that_failed_or_go_do_not_count() -> None:
    pods = [running("a"), running("b"), pod("c", phase="Failed"), pod("d", deletion_timestamp="2026-01-01T00:30:00Z")]
    assert utilization(pods, {"a": 600, "b": 600, "c": 0, "d": 0}, 30, current=2) == 4


def test_no_sample_of_a_ready_pod_is_no_proposal() -> None:
    with pytest.raises(NoProposal, match="did not receive metrics for targeted pods"):
        utilization([pod("a")], {}, 50)


def test_a_value_of_all_pods_together_is_compared_with_those_that_are_ready() -> None:
    pods = [running("a"), running("b"), pod("c")]
    assert by_value(3, 1000, 2000, pods, TOLERANCE) == 4
    assert by_value(3, 1000, 1050, pods, TOLERANCE) == 3
    assert by_value(0, 1000, 2500, [], TOLERANCE) == 3


def test_a_shared_value_wants_a_pod_for_every_share() -> None:
    assert by_share(3, 10_000, 62_000, TOLERANCE) == (7, 20_667)
    assert by_share(6, 10_000, 62_000, TOLERANCE)[0] == 6
    assert by_share(0, 10_000, 62_000, TOLERANCE) == (7, 0)


def test_requests_are_of_all_containers_or_of_one() -> None:
    made = running("a")
    main = replace(made.spec.containers[0], resources=ResourceRequirements(requests={"cpu": Quantity("250m")}))
    helper = replace(main, name="helper", resources=ResourceRequirements(requests={"cpu": Quantity("50m")}))
    both = replace(made, spec=replace(made.spec, containers=(main, helper)))
    assert requests_of([both], "cpu", "") == {"a": 300}
    assert requests_of([both], "cpu", "helper") == {"a": 50}
    with pytest.raises(NoProposal, match="missing request for memory in container web of Pod a"):
        requests_of([both], "memory", "")
    with pytest.raises(NoProposal, match="container other not found in Pod a"):
        requests_of([both], "cpu", "other")


def test_what_a_pod_requests_as_a_whole_counts_before_its_containers() -> None:
    made = running("a")
    container = replace(made.spec.containers[0], resources=ResourceRequirements(requests={"cpu": Quantity("250m")}))
    whole = ResourceRequirements(requests={"memory": Quantity("1Gi")})
    both = replace(made, spec=replace(made.spec, containers=(container,), resources=whole))
    assert requests_of([both], "cpu", "") == {"a": 250}
    assert requests_of([both], "memory", "") == {"a": 1024**3 * 1000}
    with pytest.raises(NoProposal, match="missing pod-level request for gpu in Pod a"):
        requests_of([both], "gpu", "")


def test_half_a_pods_usage_is_no_sample() -> None:
    from kybern.api.codec import from_builtins

    told = {"metadata": {"name": "a"}, "containers": [{"name": "x", "usage": {"cpu": "1"}}, {"name": "y", "usage": {}}]}
    assert used(from_builtins(PodUsage, told), "cpu", "") is None
    found = used(from_builtins(PodUsage, told), "cpu", "x")
    assert found is not None
    assert found.value == 1000
    assert used(from_builtins(PodUsage, told), "cpu", "not told of") is None
    assert used(from_builtins(PodUsage, {"metadata": {"name": "a"}}), "cpu", "") is None


def test_memory_is_told_in_powers_of_1024() -> None:
    assert thousandths(512 * 1024**2 * 1000, "memory") == "512Mi"
    assert thousandths(1500, "memory") == "2"
    assert thousandths(1500, "cpu") == "1500m"


def test_a_metric_that_belongs_to_no_pod_is_named_with_its_selector_as_go_prints_it() -> None:
    selector = LabelSelector(
        match_labels={"queue": "worker"},
        match_expressions=(LabelSelectorRequirement(key="tier", operator="In", values=("a", "b")),),
    )
    assert outside(MetricIdentifier(name="depth")) == "external metric depth(nil)"
    assert outside(MetricIdentifier(name="depth", selector=selector)) == (
        "external metric depth(&LabelSelector{MatchLabels:map[string]string{queue: worker,},MatchExpressions:"
        "[]LabelSelectorRequirement{LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},})"
    )


def test_autoscalers_share_pods_where_their_selectors_do() -> None:
    web, all_of_it = (Memory(selector=parse_labels(text)) for text in ("app=web", "team=x"))
    memories = {Key("a", "web"): web, Key("a", "all"): all_of_it, Key("b", "web"): web, Key("a", "new"): Memory()}
    pods = [{"app": "web", "team": "x"}]
    assert sharing_pods(memories, Key("a", "web"), pods) == [Key("a", "all"), Key("a", "web")]
    assert sharing_pods(memories, Key("a", "web"), [{"app": "web"}]) == [Key("a", "web")]


def test_windows_are_written_as_go_writes_durations() -> None:
    assert seconds_of("1m30.5s") == 90.5
    assert seconds_of("15s") == 15
    assert seconds_of("") == 60


BOUNDS = Bounds(1, 100)


def rules(**given: object) -> HPAScalingRules:
    return HPAScalingRules(select_policy="Max", **given)  # type: ignore[arg-type]


def behavior(up: HPAScalingRules | None = None, down: HPAScalingRules | None = None) -> HorizontalPodAutoscalerBehavior:
    whole = (HPAScalingPolicy(type="Percent", value=100, period_seconds=15),)
    return HorizontalPodAutoscalerBehavior(
        scale_up=up or rules(policies=whole, stabilization_window_seconds=0),
        scale_down=down or rules(policies=whole, stabilization_window_seconds=300),
    )


def test_without_a_behavior_growth_is_twofold_or_up_to_four() -> None:
    assert decide(None, Memory(), 1, 50, BOUNDS, NOW).replicas == 4
    found = decide(None, Memory(), 10, 50, BOUNDS, NOW)
    assert (found.replicas, found.limited.reason) == (20, "ScaleUpLimit")


def test_what_was_recommended_lately_holds_shrinking_back() -> None:
    memory = Memory(recommendations=[Past(9, NOW - 400), Past(7, NOW - 200), Past(4, NOW - 100)])
    found = decide(None, memory, 9, 2, BOUNDS, NOW)
    assert (found.replicas, found.able.reason) == (7, "ScaleDownStabilized")
    assert [past.replicas for past in memory.recommendations] == [7, 4, 2]


def test_a_window_holds_growing_back() -> None:
    memory = Memory(recommendations=[Past(3, NOW - 30)])
    up = rules(stabilization_window_seconds=60, policies=(HPAScalingPolicy(type="Pods", value=9, period_seconds=15),))
    found = decide(behavior(up=up), memory, 2, 8, BOUNDS, NOW)
    assert (found.replicas, found.able.reason) == (3, "ScaleUpStabilized")


@pytest.mark.parametrize(("select", "expected"), [("Max", 20), ("Min", 14), ("Disabled", 10)])
def test_policies_are_chosen_among(select: str, expected: int) -> None:
    policies = (
        HPAScalingPolicy(type="Pods", value=4, period_seconds=60),
        HPAScalingPolicy(type="Percent", value=100, period_seconds=60),
    )
    up = HPAScalingRules(select_policy=select, policies=policies, stabilization_window_seconds=0)
    assert decide(behavior(up=up), Memory(), 10, 50, BOUNDS, NOW).replicas == expected


def test_what_was_changed_in_the_period_counts() -> None:
    down = rules(policies=(HPAScalingPolicy(type="Pods", value=3, period_seconds=60),), stabilization_window_seconds=0)
    given, memory = behavior(down=down), Memory()
    note_scaling(given, memory, 10, 8, NOW - 30)
    found = decide(given, memory, 8, 1, BOUNDS, NOW)
    assert (found.replicas, found.limited.reason) == (7, "ScaleDownLimit")
    assert decide(given, memory, 7, 1, BOUNDS, NOW + 60).replicas == 4


def test_limits_of_the_spec_are_told() -> None:
    assert decide(None, Memory(), 3, 1, Bounds(2, 10), NOW).limited.reason == "TooFewReplicas"
    assert decide(None, Memory(), 9, 12, Bounds(2, 10), NOW).limited.reason == "TooManyReplicas"
