from typing import Any

from msgspec.structs import replace

from kybern.api.coordination_v1 import Lease, LeaseSpec
from kybern.api.core_v1 import Node, NodeCondition, NodeSpec, NodeStatus, Taint, Toleration
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client
from kybern.controllers.nodelifecycle import SignOfLife, renewed_meanwhile, sign_of, unknown
from kybern.controllers.nodettl import STEPS, step_for
from kybern.controllers.tainteviction import seconds_left
from kybern.controllers.taints import seconds_tolerated, taints_for, tolerating
from kybern.controllers.zones import EXCLUDED, FULL, NORMAL, PARTIAL, Limiter, Zone, all_disrupted, state_of, zones
from kybern.testing.builders import node, pod

NOW = "2026-01-01T00:00:00Z"
NOW_SECONDS = 1767225600.0
UNREACHABLE = Taint(key="node.kubernetes.io/unreachable", effect="NoExecute", time_added=NOW)


def with_ready(status: str, heartbeat: str = NOW, **spec: Any) -> Node:
    ready = NodeCondition(type="Ready", status=status, last_heartbeat_time=heartbeat)
    return replace(node("n1"), status=NodeStatus(conditions=(ready,)), spec=NodeSpec(**spec))


def keys(taints: tuple[Taint, ...]) -> list[tuple[str, str]]:
    return [(taint.key, taint.effect) for taint in taints]


def test_a_ready_node_has_no_taints_of_ours_and_keeps_foreign_ones() -> None:
    mine = Taint(key="gpu", effect="NoSchedule")
    tainted = with_ready("True", taints=(UNREACHABLE, mine))
    assert taints_for(tainted, NOW, evict=True) == (mine,)


def test_an_unknown_node_is_unreachable() -> None:
    assert keys(taints_for(with_ready("Unknown"), NOW, evict=True)) == [
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]


def test_nobody_is_evicted_while_no_node_is_ready() -> None:
    assert keys(taints_for(with_ready("False"), NOW, evict=False)) == [("node.kubernetes.io/not-ready", "NoSchedule")]


def test_a_cordoned_node_is_tainted() -> None:
    found = taints_for(with_ready("True", unschedulable=True), NOW, evict=True)
    assert keys(found) == [("node.kubernetes.io/unschedulable", "NoSchedule")]


def test_the_time_of_a_taint_stays() -> None:
    found = taints_for(with_ready("Unknown", taints=(UNREACHABLE,)), "2027-01-01T00:00:00Z", evict=True)
    assert found[0] == UNREACHABLE


def test_an_empty_key_with_exists_tolerates_everything() -> None:
    assert tolerating([Toleration(operator="Exists")], UNREACHABLE)
    assert not tolerating([Toleration(operator="Exists", effect="NoSchedule")], UNREACHABLE)
    assert not tolerating([Toleration(key=UNREACHABLE.key, value="x")], UNREACHABLE)
    assert not tolerating([Toleration()], UNREACHABLE)


def test_the_shortest_toleration_counts() -> None:
    tolerations = [Toleration(operator="Exists", toleration_seconds=300), Toleration(operator="Exists")]
    assert seconds_tolerated(tolerations, [UNREACHABLE]) == 300
    assert seconds_tolerated([Toleration(operator="Exists")], [UNREACHABLE]) is None
    assert seconds_tolerated([], [UNREACHABLE]) == 0


def test_a_pod_leaves_when_the_time_it_tolerates_is_over() -> None:
    lost = with_ready("Unknown", taints=(UNREACHABLE,))
    placed = pod("a", node="n1")
    tolerant = replace(
        placed, spec=replace(placed.spec, tolerations=(Toleration(operator="Exists", toleration_seconds=300),))
    )
    assert seconds_left(tolerant, lost, NOW_SECONDS, NOW_SECONDS + 100) == 200
    assert seconds_left(placed, lost, NOW_SECONDS, NOW_SECONDS) == 0
    assert seconds_left(placed, with_ready("True"), NOW_SECONDS, NOW_SECONDS) is None


def test_only_a_change_is_a_sign_of_life() -> None:
    first = sign_of(with_ready("True"), None, None, 10.0)
    assert sign_of(with_ready("True"), None, first, 60.0).seen_at == 10.0
    assert sign_of(with_ready("True", heartbeat="2026-01-01T00:01:00Z"), None, first, 60.0).seen_at == 60.0


def test_writing_unknown_is_no_sign_of_life() -> None:
    before = SignOfLife("uid-n1", NOW, "", 10.0)
    assert sign_of(unknown(with_ready("True"), NOW), None, before, 99.0) == before


def test_nodes_of_a_zone_lose_their_pods_one_after_the_other() -> None:
    limiter, normal = Limiter(), Zone(10, NORMAL)
    assert limiter.wait("a", normal, 100.0) == 0
    assert limiter.wait("a", normal, 104.0) == 6
    assert limiter.wait("b", normal, 104.0) == 0
    assert limiter.wait("a", normal, 110.0) == 0


def test_where_much_of_a_zone_has_failed_nodes_are_let_be() -> None:
    assert state_of(4, 2) == NORMAL
    assert state_of(2, 3) == PARTIAL
    assert state_of(0, 1) == FULL
    assert Limiter().wait("a", Zone(5, PARTIAL), 0.0) is None
    limiter, large = Limiter(), Zone(51, PARTIAL)
    assert (limiter.wait("a", large, 0.0), limiter.wait("a", large, 1.0)) == (0, 99)


def test_where_every_zone_has_failed_nobody_loses_anything() -> None:
    assert all_disrupted({"a": Zone(2, FULL), "b": Zone(1, FULL)})
    assert not all_disrupted({"a": Zone(2, FULL), "b": Zone(3, PARTIAL)})


def test_nodes_ask_seldomer_the_more_they_are_and_a_cluster_at_the_edge_does_not_go_to_and_fro() -> None:
    seconds = [STEPS[step_for(count, 0)][2] for count in (1, 100, 101, 501, 1001, 2001, 5000)]
    assert seconds == [0, 0, 15, 30, 60, 300, 300]
    assert [step_for(count, 1) for count in (95, 90, 89)] == [1, 1, 0]


def test_a_node_may_be_left_out_when_a_zones_failures_are_counted() -> None:
    lost = with_ready("Unknown")
    left_out = replace(lost, metadata=replace(lost.metadata, labels={EXCLUDED: ""}))
    assert zones([with_ready("True"), lost, lost, lost]) == {":": Zone(4, PARTIAL)}
    assert zones([with_ready("True"), left_out, left_out, left_out]) == {":": Zone(1, NORMAL)}
    assert not all_disrupted(zones([left_out]))


async def test_silence_is_not_believed_while_the_server_has_heard_of_the_node() -> None:
    class Server(Client):
        def __init__(self, lease: Lease | None) -> None:
            self.lease = lease

        async def get(self, of: type[Any], name: str, namespace: str = "") -> Any:
            if self.lease is None:
                raise NotFound("gone")
            return self.lease

    known = SignOfLife("u", "", NOW, 0.0)
    same = Lease(metadata=ObjectMeta(name="n1"), spec=LeaseSpec(renew_time=NOW))
    newer = Lease(metadata=ObjectMeta(name="n1"), spec=LeaseSpec(renew_time="2026-01-01T00:00:10Z"))
    answers = [await renewed_meanwhile("n1", known, Server(lease)) for lease in (same, newer, None)]
    assert answers == [False, True, False]
