from kybern.reconcile.replicas import BURST_PODS_MAX, Plan, plan
from kybern.testing.builders import pod


def test_missing_pods_are_created() -> None:
    assert plan(3, [pod("a")]) == Plan(create=2)


def test_a_burst_is_bounded() -> None:
    assert plan(10_000, []) == Plan(create=BURST_PODS_MAX)


def test_a_pod_without_a_node_is_deleted_before_a_placed_one() -> None:
    placed, unplaced = pod("a", node="n1"), pod("b")
    assert plan(1, [placed, unplaced]) == Plan(delete=(unplaced,))


def test_a_pod_that_is_not_ready_is_deleted_before_a_ready_one() -> None:
    ready, running = pod("a", node="n1", ready=True), pod("b", node="n1", phase="Running")
    assert plan(1, [ready, running]).delete == (running,)


def test_a_pod_marked_as_cheap_is_deleted_first() -> None:
    cheap = pod("b", node="n", ready=True, annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"})
    assert plan(1, [pod("a", node="n", ready=True), cheap]).delete == (cheap,)


def test_a_crowded_node_loses_a_pod_first() -> None:
    pods = [pod("a", node="n1", ready=True), pod("b", node="n2", ready=True), pod("c", node="n2", ready=True)]
    assert plan(2, pods, pods).delete[0].spec.node_name == "n2"


def test_of_equal_pods_the_one_ready_for_a_shorter_time_goes() -> None:
    old = pod("a", node="n", ready=True, ready_since="2026-01-01T00:00:00Z")
    young = pod("b", node="n", ready=True, ready_since="2026-01-01T11:59:00Z")
    assert plan(1, [old, young], now=1767268800.0).delete == (young,)
