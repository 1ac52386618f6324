from typing import Any

from msgspec.structs import replace

from kybern.api.apps_v1 import DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet
from kybern.api.core_v1 import Node, NodeSpec, Pod, PodSpec, Taint, Toleration
from kybern.api.meta_v1 import LabelSelector, ObjectMeta
from kybern.api.node_selectors import fits
from kybern.controllers.daemonset.failures import Failures
from kybern.controllers.daemonset.placing import judge, node_of, template_for, tolerations
from kybern.controllers.daemonset.plan import Fleet, Plan, fleet, place, roll, status_of
from kybern.reconcile.history import HASH
from kybern.testing.builders import APP, node, pod, template

NOW = 1767226000.0


def daemonset(limits: RollingUpdateDaemonSet | None = None, **spec: Any) -> DaemonSet:
    made = template()
    return DaemonSet(
        metadata=ObjectMeta(name="agent", namespace="default", uid="d"),
        spec=DaemonSetSpec(
            selector=LabelSelector(match_labels=APP),
            template=replace(made, spec=replace(made.spec, **spec)),
            update_strategy=DaemonSetUpdateStrategy(type="RollingUpdate", rolling_update=limits),
        ),
    )


def daemon(name: str, on: str, version: str = "new", *, ready: bool = True, **more: Any) -> Pod:
    return pod(name, node=on, ready=ready, labels={**APP, HASH: version}, **more)


def tainted(name: str, effect: str, key: str = "x") -> Node:
    return replace(node(name), spec=NodeSpec(taints=(Taint(key=key, effect=effect),)))


def of(found: DaemonSet, nodes: list[Node], *pods: Pod) -> Fleet:
    return fleet(found, nodes, pods, "new", NOW)


def test_every_node_gets_one() -> None:
    assert place(of(daemonset(), [node("n1"), node("n2")], daemon("a", "n1"))) == Plan(create=["n2"])


def test_of_two_the_older_one_stays() -> None:
    young = daemon("b", "n1", creation_timestamp="2026-01-02T00:00:00Z")
    assert place(of(daemonset(), [node("n1")], young, daemon("a", "n1"))) == Plan(delete=[young])


def test_a_node_that_does_not_fit_gets_none_and_loses_its_own() -> None:
    choosy = daemonset(node_selector={"disk": "ssd"})
    running = daemon("a", "n1")
    assert place(of(choosy, [node("n1"), node("n2", labels={"disk": "ssd"})], running)) == Plan(
        create=["n2"], delete=[running]
    )


def test_a_taint_keeps_new_pods_out_and_only_no_execute_drives_running_ones_away() -> None:
    assert not judge(daemonset(), tainted("n1", "NoSchedule")).should_run
    assert judge(daemonset(), tainted("n1", "NoSchedule")).may_stay
    assert not judge(daemonset(), tainted("n1", "NoExecute")).may_stay


def test_a_daemon_runs_where_nothing_else_may() -> None:
    for key, effect in (("unschedulable", "NoSchedule"), ("not-ready", "NoExecute"), ("unreachable", "NoExecute")):
        assert judge(daemonset(), tainted("n1", effect, f"node.kubernetes.io/{key}")).should_run


def test_a_template_cannot_bound_how_long_a_daemon_stays_on_a_node_that_is_down() -> None:
    key, effect = "node.kubernetes.io/not-ready", "NoExecute"
    told = (
        Toleration(key=key, operator="Exists", effect=effect, toleration_seconds=30),
        Toleration(key="mine", operator="Exists", toleration_seconds=30),
    )
    found = tolerations(PodSpec(containers=(), tolerations=told))
    assert [one.toleration_seconds for one in found if one.key in (key, "mine")] == [None, 30]


def test_a_failed_pod_is_replaced() -> None:
    failed = daemon("a", "n1", ready=False, phase="Failed")
    found = place(of(daemonset(), [node("n1")], failed))
    assert (found.delete, found.failed) == ([failed], [failed])


def test_pods_are_replaced_one_at_a_time() -> None:
    nodes = [node("n1"), node("n2")]
    old = [daemon("a", "n1", "old"), daemon("b", "n2", "old")]
    assert roll(of(daemonset(), nodes, *old)) == Plan(delete=[old[0]])
    assert roll(of(daemonset(), nodes, daemon("c", "n1", ready=False), old[1])) == Plan()


def test_a_pod_that_is_not_available_is_replaced_at_once() -> None:
    nodes = [node("n1"), node("n2")]
    broken, fine = daemon("a", "n1", "old", ready=False), daemon("b", "n2", "old")
    assert roll(of(daemonset(), nodes, broken, fine)) == Plan(delete=[broken])


def test_with_a_surge_the_new_pod_comes_first() -> None:
    surging = daemonset(RollingUpdateDaemonSet(max_surge=1, max_unavailable=0))
    old = daemon("a", "n1", "old")
    assert roll(of(surging, [node("n1")], old)) == Plan(create=["n1"])
    assert roll(of(surging, [node("n1")], old, daemon("b", "n1", ready=False))) == Plan()
    assert roll(of(surging, [node("n1")], old, daemon("b", "n1"))) == Plan(delete=[old])


def test_a_pod_is_made_for_its_node() -> None:
    made = pod("a")
    made = replace(made, spec=template_for(template(), "n7").spec)
    assert node_of(made) == "n7"
    assert fits(made.spec, node("n7")) and not fits(made.spec, node("n8"))


def test_what_the_status_tells() -> None:
    nodes = [node("n1"), node("n2"), tainted("n3", "NoExecute")]
    pods = [daemon("a", "n1"), daemon("b", "n2", "old", ready=False), daemon("c", "n3")]
    status = status_of(of(daemonset(), nodes, *pods))
    assert (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled) == (2, 2, 1)
    assert (status.number_ready, status.number_unavailable, status.updated_number_scheduled) == (1, 1, 1)


def test_a_pod_that_failed_again_is_replaced_later() -> None:
    failed, found = daemon("a", "n1", ready=False, phase="Failed"), daemonset()
    failures = Failures()
    assert failures.wait(found, "n1", NOW) == 0
    for expected in (1.0, 2.0, 4.0):
        failures.note(found, "n1", NOW)
        assert failures.wait(found, "n1", NOW) == expected
    waiting = place(of(found, [node("n1")], failed), lambda name: failures.wait(found, name, NOW))
    assert waiting == Plan(wait_seconds=4.0)
    assert failures.wait(found, "n1", NOW + 4) == failures.wait(found, "n2", NOW) == 0


def test_a_pod_that_ended_and_only_waits_for_a_finalizer_is_no_hindrance() -> None:
    ended = daemon("a", "n1", ready=False, phase="Failed", deletion_timestamp="2026-01-01T00:00:00Z")
    assert place(of(daemonset(), [node("n1")], ended)) == Plan(create=["n1"])


def test_an_old_pod_where_none_should_run_any_more_is_replaced_too() -> None:
    old = daemon("a", "n1", "old")
    assert roll(of(daemonset(), [tainted("n1", "NoSchedule"), node("n2")], old, daemon("b", "n2"))).delete == [old]


def test_with_a_surge_an_old_pod_stays_until_enough_are_available_elsewhere() -> None:
    surging = daemonset(RollingUpdateDaemonSet(max_surge=1, max_unavailable=0))
    old, nodes = daemon("a", "n1", "old"), [tainted("n1", "NoSchedule"), node("n2")]
    assert roll(of(surging, nodes, old, daemon("b", "n2", ready=False))) == Plan()
    assert roll(of(surging, nodes, old, daemon("b", "n2"))) == Plan(delete=[old])


def test_with_a_surge_a_pod_that_stops_is_replaced_before_it_is_gone() -> None:
    surging = daemonset(RollingUpdateDaemonSet(max_surge=1, max_unavailable=0))
    stopping = daemon("a", "n1", deletion_timestamp="2026-01-01T00:00:00Z")
    assert place(of(surging, [node("n1")], stopping)) == Plan(create=["n1"])
    assert place(of(daemonset(), [node("n1")], stopping)) == Plan()


def test_with_a_surge_an_old_pod_that_is_not_ready_gives_way() -> None:
    surging = daemonset(RollingUpdateDaemonSet(max_surge=1, max_unavailable=0))
    old, new = daemon("a", "n1", "old", ready=False), daemon("b", "n1", ready=False)
    assert place(of(surging, [node("n1")], old, new)) == Plan(delete=[old])
