"""Goal: zones are told endpoints by their share of the processors, and only where that overloads nobody. Method: slices and
shares by value."""

import pytest

from kybern.api.core_v1 import Node, NodeCondition, NodeStatus
from kybern.api.discovery_v1 import Endpoint, EndpointConditions, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.shape import Quantity
from kybern.controllers.topologyhints import FEW_ENDPOINTS, NO_NODES, NO_ZONE, TOO_UNEVEN, shares_of, with_hints


def endpoint(zone: str, *, ready: bool = True) -> Endpoint:
    return Endpoint(addresses=("10.0.0.1",), zone=zone or None, conditions=EndpointConditions(ready=ready))


def slice_of(*zones: str) -> EndpointSlice:
    return EndpointSlice(address_type="IPv4", endpoints=tuple(map(endpoint, zones)))


def told(slices: list[EndpointSlice]) -> list[str]:
    """For which zone each endpoint is."""
    return [end.hints.for_zones[0].name if end.hints else "-" for one in slices for end in one.endpoints or ()]


def node(name: str, zone: str, cpu: str = "2", ready: str = "True", **labels: str) -> Node:
    return Node(
        metadata=ObjectMeta(name=name, labels={"topology.kubernetes.io/zone": zone, **labels} if zone else labels),
        status=NodeStatus(allocatable={"cpu": Quantity(cpu)}, conditions=(NodeCondition(type="Ready", status=ready),)),
    )


EVEN = {"a": 0.5, "b": 0.5}


def test_an_endpoint_serves_its_own_zone_where_that_is_even() -> None:
    assert told(with_hints([], [slice_of("a", "b", "a", "b")], EVEN).slices) == ["a", "b", "a", "b"]


def test_a_zone_with_too_many_gives_some_to_one_with_too_few() -> None:
    assert told(with_hints([], [slice_of("a", "a", "a", "b")], EVEN).slices) == ["b", "a", "a", "b"]
    assert told(with_hints([], [slice_of("a", "a")], EVEN).slices) == ["b", "a"]


def test_shares_count_by_processors() -> None:
    wide = {"a": 0.75, "b": 0.25}
    assert told(with_hints([], [slice_of("a", "a", "b", "b")], wide).slices) == ["a", "a", "a", "b"]


@pytest.mark.parametrize(
    ("zones", "shares", "why"),
    [
        (("a",), EVEN, f"{FEW_ENDPOINTS} (1 endpoints, 2 zones)"),
        (("a", "b"), {}, NO_NODES),
        (("a", "b", "b"), EVEN, f"{TOO_UNEVEN} (3 endpoints, 2 zones)"),
        (("a", ""), EVEN, NO_ZONE),
    ],
)
def test_what_cannot_be_shared_evenly_has_no_hints_and_a_reason(
    zones: tuple[str, ...], shares: dict[str, float], why: str
) -> None:
    found = with_hints([], [slice_of(*zones)], shares)
    assert (told(found.slices), found.refusal) == (["-"] * len(zones), why)


def test_a_slice_whose_hints_still_fit_is_left_alone() -> None:
    [kept] = with_hints([], [slice_of("a", "a", "b", "b")], EVEN).slices
    again = with_hints([kept], [slice_of("b", "a")], EVEN)
    assert again.slices[0] is kept
    assert "-" not in told(again.slices)


def test_a_slice_whose_hints_overload_a_zone_is_told_anew() -> None:
    [kept] = with_hints([], [slice_of("a", "b", "a", "b")], EVEN).slices
    again = with_hints([kept], [], {"a": 0.75, "b": 0.25})
    assert sorted(told(again.slices)) == ["a", "a", "a", "b"]


def test_who_is_not_ready_has_no_hints() -> None:
    found = EndpointSlice(endpoints=(endpoint("a"), endpoint("b"), endpoint("b", ready=False)))
    assert told(with_hints([], [found], EVEN).slices) == ["a", "b", "-"]


def test_a_zones_share_is_that_of_its_ready_workers() -> None:
    nodes = [
        node("1", "a", "3"),
        node("2", "b", "500m"),
        node("3", "b", "500m"),
        node("4", "b", "8", ready="False"),
        node("5", "b", "8", **{"node-role.kubernetes.io/control-plane": ""}),
    ]
    assert shares_of(nodes) == {"a": 0.75, "b": 0.25}
    assert shares_of(nodes[:1]) == {}
    assert shares_of([*nodes, node("6", "")]) == {}
