"""The scheduling queue: who is tried next, who waits, and what wakes them."""

from typing import Any

import pytest
from msgspec.structs import replace

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Pod
from kybern.scheduler.framework import Change
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.queue import EARLY_PODS_MAX, Entry, SchedulingQueue

WAKES = {"Fit": Change.NODE_ADDED | Change.POD_LEFT, "Taints": Change.NODE_ADDED | Change.NODE_TAINTS}


def pod(name: str, **spec: Any) -> Pod:
    return from_builtins(Pod, {"metadata": {"name": name, "uid": name}, "spec": spec})


def queue(*names: str) -> SchedulingQueue:
    made = SchedulingQueue(WAKES)
    for number, name in enumerate(names):
        made.add(pod(name), number)
    return made


def popped(made: SchedulingQueue, now: float) -> str | None:
    entry = made.pop(now)
    return entry.pod.metadata.name if entry else None


def taken(made: SchedulingQueue, now: float) -> Entry:
    entry = made.pop(now)
    assert entry is not None
    return entry


def test_the_more_important_goes_first_and_among_equals_the_older() -> None:
    made = queue("a", "b")
    made.add(pod("c", priority=5), 9)
    assert [popped(made, 9) for _ in range(4)] == ["c", "a", "b", None]


def test_a_pod_that_left_is_not_tried() -> None:
    made = queue("a", "b")
    made.remove("a")
    assert [popped(made, 0), popped(made, 0)] == ["b", None]
    assert len(made) == 0


def test_a_refused_pod_waits_for_a_change_that_concerns_who_refused_it() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Taints"}), 0)
    made.changed(Change.POD_LEFT, 20)
    assert popped(made, 20) is None
    made.changed(Change.NODE_TAINTS, 20)
    assert popped(made, 20) == "a"


def test_a_change_does_not_cut_the_back_off_short_while_others_may_be_tried() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Fit"}), 0)
    made.changed(Change.POD_LEFT, 0.5)
    made.add(pod("b"), 0.5)
    made.add(pod("c"), 0.5)
    assert [popped(made, 0.9), popped(made, 0.95)] == ["b", "c"]


def test_while_nobody_else_may_be_tried_a_tenth_of_the_back_off_is_enough() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Fit"}), 0)
    made.changed(Change.POD_LEFT, 0.05)
    assert popped(made, 0.05) is None
    assert made.seconds_to_wait(0.05) == pytest.approx(0.05)
    assert popped(made, 0.1) == "a"
    assert popped(made, 2.0) is None


def test_who_was_tried_early_and_refused_waits_for_another_change_though_its_back_off_ends() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Fit"}), 0)
    made.changed(Change.POD_LEFT, 0.05)
    made.refused(taken(made, 0.1), frozenset({"Fit"}), 0.1)
    assert popped(made, 5.0) is None
    made.changed(Change.POD_LEFT, 5.0)
    assert popped(made, 5.0) == "a"
    assert not made.unschedulable and not made.refusing


def test_a_fault_that_comes_after_a_refusal_is_what_counts() -> None:
    made = queue("a")
    entry = taken(made, 0)
    made.refused(entry, frozenset({"Fit"}), 0)
    made.failed(entry, 0)
    assert not made.unschedulable and not made.refusing
    assert popped(made, 2.0) == "a"


def test_neither_a_fault_nor_a_crowd_is_tried_early() -> None:
    made = queue("a")
    made.failed(taken(made, 0), 0)
    assert (popped(made, 0.9), popped(made, 1.0)) == (None, "a")
    crowd = queue(*(f"p{number}" for number in range(EARLY_PODS_MAX + 1)))
    for _ in range(EARLY_PODS_MAX + 1):
        crowd.refused(taken(crowd, 0), frozenset({"Fit"}), 0)
    crowd.changed(Change.POD_LEFT, 0)
    assert popped(crowd, 0.9) is None
    assert popped(crowd, 1.0) == "p0"


def test_the_back_off_doubles_up_to_ten_seconds() -> None:
    made = queue("a")
    now, waits = 0.0, []
    for _ in range(6):
        made.failed(taken(made, now), now)
        wait = made.seconds_to_wait(now)
        assert wait is not None
        waits.append(wait)
        now += wait
    assert waits == [1, 2, 4, 8, 10, 10]


def test_after_five_minutes_everybody_is_tried_again() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Fit"}), 0)
    assert made.seconds_to_wait(0) == 300
    assert popped(made, 299) is None
    assert popped(made, 300) == "a"


def test_an_update_of_the_pod_itself_is_worth_a_try_and_of_its_status_is_not() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset({"Fit"}), 0)
    same = pod("a")
    made.add(replace(same, status=replace(same.status, message="waits")), 50)
    assert popped(made, 50) is None
    made.add(pod("a", nodeSelector={"zone": "b"}), 50)
    assert popped(made, 50) == "a"


def test_without_nodes_the_first_one_wakes() -> None:
    made = queue("a")
    made.refused(taken(made, 0), frozenset(), 0)
    made.changed(Change.NODE_ADDED, 5)
    assert popped(made, 5) == "a"


NODE = {"added": Change.NODE_ADDED, "labels": Change.NODE_LABELS, "taints": Change.NODE_TAINTS,
        "allocatable": Change.NODE_ALLOCATABLE, "features": Change.NODE_FEATURES, "removed": Change.NODE_REMOVED}  # fmt: skip
EVENTS = {
    "NodeUnschedulable": ("added", "taints"),
    "NodeName": ("added",),
    "TaintToleration": ("added", "taints"),
    "NodeAffinity": ("added", "labels"),
    "NodeDeclaredFeatures": ("added", "features"),
    "NodePorts": ("added", Change.POD_LEFT),
    "NodeResourcesFit": ("added", "allocatable", Change.POD_LEFT, Change.DEVICE_CLASS),
    "VolumeRestrictions": ("added", Change.POD_LEFT, Change.VOLUME),
    "NodeVolumeLimits": ("added", Change.POD_LEFT, Change.VOLUME),
    "VolumeBinding": ("added", "labels", Change.VOLUME),
    "VolumeZone": ("added", "labels", Change.VOLUME),
    "PodTopologySpread": ("added", "removed", "labels", "taints", Change.POD_LEFT, Change.POD_ADDED),
    "InterPodAffinity": ("added", "labels", Change.POD_LEFT, Change.POD_ADDED),
    "DynamicResources": ("added", "labels", "allocatable", Change.POD_LEFT, Change.DEVICE),
}
"""Upstream's table: after which events a pod that a rule refused is worth another try. Its own change always makes it so."""


RULES = [rule for rule in DEFAULT_PROFILE.filters if rule.name != "QueueShares"]  # which upstream has not


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_pod_is_tried_again_after_the_events_that_concern_the_rule_that_refused_it(rule: Any) -> None:
    expected = Change(0)
    for event in EVENTS[rule.name]:
        expected |= NODE[event] if isinstance(event, str) else event
    assert rule.wakes_on == expected
