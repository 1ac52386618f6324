from typing import Any

from msgspec.structs import replace

from kybern.api.core_v1 import EndpointAddress, EndpointSubset, Pod, PodIP, Service, ServicePort, ServiceSpec
from kybern.api.discovery_v1 import EndpointPort, EndpointSlice
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.endpoints import bounded, endpoints_of, subsets_of
from kybern.controllers.endpointslice import plan
from kybern.controllers.slices import Plan, carry_out, dated
from kybern.testing.builders import APP, pod

NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"


def service(**spec: Any) -> Service:
    given = {"selector": APP, "ports": (ServicePort(port=80, target_port=8080),), "ip_families": ("IPv4",)} | spec
    return Service(metadata=ObjectMeta(name="web", namespace="default", uid="svc"), spec=ServiceSpec(**given))


def pods(count: int, **more: Any) -> list[Pod]:
    return [pod(f"p{i}", ip=f"10.0.{i // 250}.{i % 250 + 1}", ready=True, **more) for i in range(count)]


def planned(wanted: Service, found: list[Pod], *existing: EndpointSlice) -> list[list[EndpointSlice]]:
    made = plan(wanted, found, existing, {"n1": "z1"})
    return [made.create, made.update, made.delete]


def test_ready_and_other_addresses_are_kept_apart() -> None:
    waiting = pod("b", ip="10.0.0.2", phase="Running")
    (subset,) = subsets_of(service(), [pod("a", ip="10.0.0.1", ready=True), waiting])
    assert [address.ip for address in subset.addresses or ()] == ["10.0.0.1"]
    assert [address.ip for address in subset.not_ready_addresses or ()] == ["10.0.0.2"]
    assert [port.port for port in subset.ports or ()] == [8080]


def test_a_pod_without_an_address_or_at_its_end_is_left_out() -> None:
    found = [pod("a"), pod("b", ip="10.0.0.1", phase="Succeeded"), pod("c", ip="10.0.0.2", deletion_timestamp=NOW)]
    assert subsets_of(service(), found) == ()


def test_not_ready_addresses_can_be_published() -> None:
    (subset,) = subsets_of(service(publish_not_ready_addresses=True), [pod("b", ip="10.0.0.2", phase="Running")])
    assert subset.not_ready_addresses is None


def test_nothing_is_written_when_nothing_changed() -> None:
    first = endpoints_of(service(), pods(2), None, NOW)
    assert endpoints_of(service(), pods(2), first, LATER) is first


def dual(name: str, *ips: str) -> Pod:
    found = pod(name, ip=ips[0], ready=True)
    return replace(found, status=replace(found.status, pod_ips=tuple(PodIP(ip=ip) for ip in ips)))


def test_endpoints_have_the_addresses_of_the_services_first_family() -> None:
    found = [dual("a", "10.0.0.1", "fd00::1"), dual("b", "10.0.0.2")]
    (six,) = subsets_of(service(ip_families=("IPv6", "IPv4")), found)
    assert [address.ip for address in six.addresses or ()] == ["fd00::1"]
    (four,) = subsets_of(service(ip_families=("IPv4", "IPv6")), found)
    assert [address.ip for address in four.addresses or ()] == ["10.0.0.1", "10.0.0.2"]


def test_each_family_has_slices_of_its_own() -> None:
    found = [dual("a", "10.0.0.1", "fd00::1"), dual("b", "10.0.0.2")]
    created, _, _ = planned(service(ip_families=("IPv6", "IPv4")), found)
    told = {made.address_type: [end.addresses for end in made.endpoints or ()] for made in created}
    assert told == {"IPv6": [("fd00::1",)], "IPv4": [("10.0.0.1",), ("10.0.0.2",)]}
    _, _, deleted = planned(service(ip_families=("IPv6",)), found, *created)
    assert [made.address_type for made in deleted] == ["IPv4"]


def test_endpoints_are_cut_at_a_thousand() -> None:
    kept, complete = bounded(subsets_of(service(), pods(1001)))
    assert (sum(len(subset.addresses or ()) for subset in kept), complete) == (1000, False)


def subset(ready: int, waiting: int = 0) -> EndpointSubset:
    addresses = tuple(EndpointAddress(ip=f"10.0.{i // 250}.{i % 250 + 1}") for i in range(ready + waiting))
    return EndpointSubset(addresses=addresses[:ready] or None, not_ready_addresses=addresses[ready:] or None)


def sizes(*subsets: EndpointSubset) -> list[tuple[int, int]]:
    kept, _ = bounded(subsets)
    return [(len(one.addresses or ()), len(one.not_ready_addresses or ())) for one in kept]


def test_ready_addresses_of_every_subset_come_before_others_of_any() -> None:
    assert sizes(subset(400, 500), subset(400)) == [(400, 200), (400, 0)]


def test_what_is_cut_is_cut_from_every_subset_by_its_size() -> None:
    assert sizes(subset(1500, 9), subset(500), subset(0, 3)) == [(750, 0), (250, 0)]
    assert sizes(subset(901), subset(900), subset(300)) == [(429, 0), (429, 0), (142, 0)]


def test_a_slice_holds_a_hundred() -> None:
    created, updated, deleted = planned(service(), pods(250))
    assert [len(found.endpoints or ()) for found in created] == [100, 100, 50]
    assert not updated and not deleted


def test_a_change_of_one_pod_changes_one_slice() -> None:
    found = pods(150)
    created, _, _ = planned(service(), found)
    assert planned(service(), found, *created) == [[], [], []]
    found[120] = pod("p120", ip="10.0.0.121", phase="Running")
    _, updated, _ = planned(service(), found, *created)
    assert len(updated) == 1


def test_what_an_endpoint_is_good_for() -> None:
    leaving = pod("a", ip="10.0.0.1", ready=True, node="n1", deletion_timestamp=NOW)
    (made,), _, _ = planned(service(), [leaving])
    (endpoint,) = made.endpoints or ()
    conditions = endpoint.conditions
    assert conditions is not None
    assert (conditions.ready, conditions.serving, conditions.terminating) == (False, True, True)
    assert (endpoint.zone, endpoint.node_name) == ("z1", "n1")


def test_a_service_without_pods_has_one_empty_slice() -> None:
    (made,), _, _ = planned(service(), [])
    assert (made.endpoints, made.ports) == (None, None)
    assert planned(service(), [], made) == [[], [], []]


def test_pods_that_come_are_written_over_the_empty_slice() -> None:
    (empty,), _, _ = planned(service(), [])
    created, (filled,), deleted = planned(service(), pods(1), empty)
    assert (created, deleted, len(filled.endpoints or ()), filled.ports) == ([], [], 1, plan_ports(8080))
    assert filled.metadata == empty.metadata


def plan_ports(number: int) -> tuple[EndpointPort, ...]:
    return (EndpointPort(name="", port=number, protocol="TCP"),)


def test_new_ports_are_written_over_the_slice_of_the_old_ones() -> None:
    (old,), _, _ = planned(service(), pods(1))
    moved = service(ports=(ServicePort(port=80, target_port=9090),))
    created, (filled,), deleted = planned(moved, pods(1), old)
    assert (created, deleted, filled.ports) == ([], [], plan_ports(9090))


def test_a_slice_of_an_older_service_of_the_name_goes_and_is_not_filled() -> None:
    (old,), _, _ = planned(service(), pods(1))
    again = replace(service(), metadata=replace(service().metadata, uid="other"))
    created, updated, deleted = planned(again, pods(1), old)
    assert ([len(made.endpoints or ()) for made in created], updated, deleted) == ([1], [], [old])


def test_new_endpoints_fill_one_slice_that_has_room_for_all_of_them() -> None:
    found = pods(200)
    full, other = planned(service(), found)[0]
    few = [found[i] for i in (*range(90), *range(100, 195))]
    emptier, fuller = planned(service(), few, full, other)[1]
    grown = [*few, *pods(204)[200:]]
    created, updated, _ = planned(service(), grown, emptier, fuller)
    assert (created, [len(made.endpoints or ()) for made in updated]) == ([], [99])
    grown = [*few, *pods(208)[200:]]
    created, updated, _ = planned(service(), grown, emptier, fuller)
    assert (created, [len(made.endpoints or ()) for made in updated]) == ([], [98])
    grown = [*few, *pods(212)[200:]]
    created, updated, _ = planned(service(), grown, emptier, fuller)
    assert ([len(made.endpoints or ()) for made in created], updated) == ([12], [])


def test_what_is_written_anyway_is_filled_first() -> None:
    found = pods(190)
    slices = planned(service(), found)[0]
    created, updated, _ = planned(service(), [*found[1:], *pods(192)[190:]], *slices)
    assert (created, [len(made.endpoints or ()) for made in updated]) == ([], [100, 91])


def test_a_pod_without_the_services_port_is_told_without_ports() -> None:
    (made,), _, _ = planned(service(ports=(ServicePort(port=80, target_port="none"),)), pods(1))
    assert (made.ports, len(made.endpoints or ())) == (None, 1)


def test_a_slice_names_its_service_and_its_manager() -> None:
    (made,), _, _ = planned(service(), pods(1))
    labels = made.metadata.labels or {}
    assert labels["kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
    assert made.metadata.generate_name == "web-"


def test_the_slices_of_a_headless_service_say_so() -> None:
    (made,), _, _ = planned(service(cluster_ip="None"), pods(1))
    assert (made.metadata.labels or {})["service.kubernetes.io/headless"] == ""


async def test_slices_that_come_are_there_before_those_go_that_they_replace() -> None:
    calls: list[str] = []

    class Recorded:
        async def create(self, found: EndpointSlice) -> None:
            calls.append(f"create {found.metadata.name}")

        async def update(self, found: EndpointSlice) -> None:
            calls.append(f"update {found.metadata.name}")

        async def delete(self, kind: type, name: str, namespace: str, uid: str) -> None:
            calls.append(f"delete {name}")

    new, kept, old = (EndpointSlice(metadata=ObjectMeta(name=name)) for name in ("new", "kept", "old"))
    await carry_out(Plan(create=[new], update=[kept], delete=[old]), Recorded())  # type: ignore[arg-type]
    assert calls == ["create new", "update kept", "delete old"]


def test_what_is_written_of_slices_says_when_it_changed() -> None:
    created, _, _ = planned(service(), pods(1))
    step = dated(Plan(create=created), NOW)
    assert step.create[0].metadata.annotations == {"endpoints.kubernetes.io/last-change-trigger-time": NOW}
    unchanged = plan(service(), pods(1), step.create, {"n1": "z1"})
    assert (unchanged.create, unchanged.update) == ([], [])
