from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import EndpointAddress, EndpointPort, Endpoints, EndpointSubset, Service, ServiceSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.endpointslicemirroring import SKIP, is_mirrored, left_out, plan


def endpoints(*subsets: EndpointSubset, **meta: Any) -> Endpoints:
    return Endpoints(metadata=ObjectMeta(name="db", namespace="default", uid="e", **meta), subsets=subsets)


def subset(*ips: str, not_ready: tuple[str, ...] = (), port: int = 80) -> EndpointSubset:
    return EndpointSubset(
        addresses=tuple(EndpointAddress(ip=ip) for ip in ips) or None,
        not_ready_addresses=tuple(EndpointAddress(ip=ip) for ip in not_ready) or None,
        ports=(EndpointPort(port=port, protocol="TCP"),),
    )


def test_only_services_without_a_selector_are_mirrored() -> None:
    plain, selecting = Service(), Service(spec=ServiceSpec(selector={"app": "db"}))
    assert is_mirrored(endpoints(), plain)
    assert not is_mirrored(endpoints(), selecting)
    assert not is_mirrored(endpoints(), None)
    assert not is_mirrored(endpoints(labels={SKIP: "true"}), plain)


def test_addresses_become_endpoints_by_family() -> None:
    made = plan(endpoints(subset("10.0.0.1", "fd00::1", not_ready=("10.0.0.2",))), []).create
    assert [(found.address_type, len(found.endpoints or ())) for found in made] == [("IPv4", 2), ("IPv6", 1)]
    first = (made[0].endpoints or ())[1]
    assert first.conditions is not None and first.conditions.ready is False


def test_a_change_updates_the_slice_and_no_more() -> None:
    before = plan(endpoints(subset("10.0.0.1"), subset("10.0.0.1", port=81)), []).create
    assert plan(endpoints(subset("10.0.0.1"), subset("10.0.0.1", port=81)), before).update == []
    step = plan(endpoints(subset("10.0.0.9"), subset("10.0.0.1", port=81)), before)
    assert (len(step.create), len(step.update), len(step.delete)) == (0, 1, 0)


def test_what_is_no_longer_mirrored_goes() -> None:
    before = plan(endpoints(subset("10.0.0.1")), []).create
    assert plan(None, before).delete == before


def test_what_is_said_of_the_endpoints_is_said_of_their_slices() -> None:
    told = {"a": "b", "endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}
    before = plan(endpoints(subset("10.0.0.1"), annotations=told, labels={"x": "y"}), []).create
    assert before[0].metadata.annotations == {"a": "b"}
    assert (before[0].metadata.labels or {})["x"] == "y"
    [after] = plan(endpoints(subset("10.0.0.1"), annotations={"a": "c"}), before).update
    assert after.metadata.annotations == {"a": "c"} and "x" not in (after.metadata.labels or {})


def test_a_thousand_of_a_subset_are_one_slice_and_the_rest_is_left_out() -> None:
    many = subset(*(f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1003)))
    assert [len(found.endpoints or ()) for found in plan(endpoints(many), []).create] == [1000]
    assert left_out(many) == 3


def test_other_ports_are_written_over_the_slice_there_is() -> None:
    before = plan(endpoints(subset("10.0.0.1")), []).create
    step = plan(endpoints(subset("10.0.0.1", port=81)), before)
    assert (step.create, step.delete, [port.port for port in step.update[0].ports or ()]) == ([], [], [81])


def test_slices_of_older_endpoints_of_the_name_go() -> None:
    before = plan(endpoints(subset("10.0.0.1")), []).create
    again = endpoints(subset("10.0.0.1"))
    again = replace(again, metadata=replace(again.metadata, uid="other"))
    step = plan(again, before)
    assert (len(step.create), step.update, step.delete) == (1, [], before)
