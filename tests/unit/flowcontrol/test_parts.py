"""The plain parts of flow control: dealing hands, fair queues, sharing seats, matching."""

from collections import Counter

import pytest
from msgspec.structs import replace

from kybern.api.flowcontrol_v1 import PriorityLevelConfigurationSpec
from kybern.apiserver.flowcontrol.demand import Demand
from kybern.apiserver.flowcontrol.limits import Bounds, Wanted, bounds, shared_out
from kybern.apiserver.flowcontrol.matching import first_match, in_order
from kybern.apiserver.flowcontrol.queues import FairQueues
from kybern.apiserver.flowcontrol.retry_after import SECONDS_MAX, RetryAfter
from kybern.apiserver.flowcontrol.shuffle import deal, flow_hash
from kybern.apiserver.request import Attributes, User
from kybern.registry.flowdefaults import levels, schemas

SPECS: dict[str, PriorityLevelConfigurationSpec] = {level.metadata.name or "": level.spec for level in levels()}


def test_a_hand_is_of_different_queues_and_the_same_each_time() -> None:
    hand = deal(flow_hash("service-accounts", "jane"), 128, 6)
    assert len(set(hand)) == 6
    assert hand == deal(flow_hash("service-accounts", "jane"), 128, 6)
    assert sorted(deal(12345, 3, 8)) == [0, 1, 2]


def test_few_flows_have_a_hand_that_another_flow_covers() -> None:
    flood = set(deal(flow_hash("s", "flood"), 64, 6))
    covered = sum(set(deal(flow_hash("s", f"user{n}"), 64, 6)) <= flood for n in range(2000))
    assert covered == 0


def test_every_queue_is_dealt_about_as_often() -> None:
    dealt = Counter(card for n in range(4000) for card in deal(flow_hash("s", str(n)), 16, 4))
    assert set(dealt) == set(range(16))
    assert min(dealt.values()) > 800


def test_a_flow_with_little_to_do_goes_before_one_that_floods() -> None:
    queues: FairQueues[str] = FairQueues(4, 50)
    for number in range(20):
        assert queues.put(f"flood{number}", 1, (0,)) == 0
    for _ in range(5):
        _, seats, place = queues.take()
        queues.charge(place, seats, 0.02)
    queues.put("lease", 1, (1,))
    assert queues.take()[0] == "lease"


def test_flows_with_much_to_do_take_turns_by_the_work_that_each_turned_out_to_be() -> None:
    queues: FairQueues[str] = FairQueues(2, 1000)
    for _ in range(600):
        queues.put("long", 1, (0,))
        queues.put("short", 1, (1,))
    served: Counter[str] = Counter()
    for _ in range(330):
        item, seats, place = queues.take()
        served[item] += 1
        queues.charge(place, seats, 0.10 if item == "long" else 0.01)
    assert served["short"] == pytest.approx(300, abs=5)


def test_an_idle_flow_saves_up_no_turns() -> None:
    queues: FairQueues[str] = FairQueues(2, 1000)
    for _ in range(100):
        queues.put("busy", 1, (0,))
    for _ in range(50):
        queues.charge(queues.take()[2], 1, 0.01)
    for _ in range(50):
        queues.put("late", 1, (1,))
    served: Counter[str] = Counter()
    for _ in range(40):
        item, seats, place = queues.take()
        served[item] += 1
        queues.charge(place, seats, 0.01)
    assert served["busy"] >= 19


def test_the_shortest_queue_of_a_hand_is_used_until_all_are_full() -> None:
    queues: FairQueues[int] = FairQueues(3, 2)
    places = [queues.put(n, 1, (0, 2)) for n in range(5)]
    assert Counter(places) == {0: 2, 2: 2, None: 1}
    assert (queues.size, queues.seats) == (4, 4)
    assert len(list(queues.drained())) == 4
    assert (queues.size, queues.seats) == (0, 0)


def test_upstreams_shares_of_six_hundred_seats() -> None:
    found = {name: (one.nominal, one.least, one.most) for name, one in bounds(SPECS, 600).items()}
    assert found == {
        "exempt": (0, 0, 600),
        "catch-all": (13, 13, 600),
        "system": (74, 50, 600),
        "node-high": (98, 73, 600),
        "leader-election": (25, 25, 600),
        "workload-high": (98, 49, 600),
        "workload-low": (245, 24, 600),
        "global-default": (49, 24, 600),
    }


def test_a_busy_level_borrows_what_idle_ones_lend_and_they_keep_their_least() -> None:
    busy, idle, fixed = Bounds(100, 50, 400), Bounds(100, 20, 400), Bounds(200, 200, 400)
    given = shared_out([(busy, Wanted(1000, 900.0)), (idle, Wanted(0, 0.0)), (fixed, Wanted(0, 0.0))], 400)
    assert given == [180, 20, 200]


def test_nobody_borrows_above_its_bound() -> None:
    busy, idle = Bounds(100, 50, 120), Bounds(300, 30, 400)
    assert shared_out([(busy, Wanted(1000, 900.0)), (idle, Wanted(0, 0.0))], 400)[0] == 120


def test_when_all_are_busy_each_has_its_share() -> None:
    levels_ = [(Bounds(100, 50, 400), Wanted(500, 400.0)), (Bounds(300, 30, 400), Wanted(500, 400.0))]
    assert shared_out(levels_, 400) == [100, 300]


def test_demand_is_the_mean_and_its_deviation_over_time() -> None:
    demand = Demand(0.0)
    demand.changed(10, 5.0)
    wanted = demand.taken(10.0)
    assert (wanted.high, wanted.smooth) == (10, 10.0)  # a mean of 5 and a deviation of 5
    demand.changed(0, 10.0)
    assert demand.taken(20.0).smooth == pytest.approx(9.77)


def test_the_more_are_turned_away_the_later_they_are_to_come_back() -> None:
    retry = RetryAfter()
    told = [retry.turned_away(second + n / 100) for second in range(100) for n in range(99)]
    assert told[0] == 1
    assert max(told) == SECONDS_MAX
    assert retry.turned_away(1000.0) == 1


SCHEMAS = in_order(schemas())
NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))
CONTROLLERS = User("system:kube-controller-manager", ("system:authenticated",))
ACCOUNT = User("system:serviceaccount:shop:web", ("system:serviceaccounts", "system:authenticated"))
KUBE_SYSTEM = User("system:serviceaccount:kube-system:job", ("system:serviceaccounts", "system:authenticated"))
ADMIN = User("admin", ("system:masters", "system:authenticated"))
JANE = User("jane", ("system:authenticated",))

LEASE = {"group": "coordination.k8s.io", "resource": "leases", "verb": "update", "namespace": "x"}
PODS = {"resource": "pods", "verb": "list", "namespace": "x"}


@pytest.mark.parametrize(
    ("user", "asked", "name"),
    [
        (ADMIN, PODS, "exempt"),
        (JANE, {"verb": "get", "path": "/healthz"}, "probes"),
        (CONTROLLERS, LEASE, "system-leader-election"),
        (KUBE_SYSTEM, LEASE, "system-leader-election"),
        (CONTROLLERS, {"resource": "endpoints", "verb": "update", "namespace": "x"}, "endpoint-controller"),
        (NODE, LEASE, "system-node-high"),
        (NODE, {"resource": "nodes", "subresource": "status", "verb": "patch", "name": "n1"}, "system-node-high"),
        (NODE, PODS, "system-nodes"),
        (CONTROLLERS, PODS, "kube-controller-manager"),
        (KUBE_SYSTEM, PODS, "kube-system-service-accounts"),
        (ACCOUNT, PODS, "service-accounts"),
        (ACCOUNT, LEASE, "service-accounts"),
        (JANE, PODS, "global-default"),
        (JANE, {"verb": "get", "path": "/metrics"}, "global-default"),
        (User("nobody", ()), PODS, None),
    ],
)
def test_each_request_has_the_schema_that_upstream_gives_it(user: User, asked: dict[str, str], name: str) -> None:
    found = first_match(SCHEMAS, Attributes(user=user, **asked))
    assert (found.metadata.name if found else None) == name


def test_the_first_by_precedence_then_by_name_decides() -> None:
    one = next(schema for schema in SCHEMAS if schema.metadata.name == "global-default")
    other = replace(one, metadata=replace(one.metadata, name="aaa"))
    found = first_match(in_order([one, other]), Attributes(user=JANE, verb="list", resource="pods", namespace="x"))
    assert found is other
