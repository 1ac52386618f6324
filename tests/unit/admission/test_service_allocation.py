"""Service addresses and node ports are handed out exactly once, and come back."""

import asyncio
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from msgspec.structs import replace

from kybern.api.core_v1 import Service, ServicePort, ServiceSpec
from kybern.api.errors import InternalError, Invalid
from kybern.api.kinds import KINDS
from kybern.api.meta_v1 import ObjectMeta
from kybern.api.networking_v1 import IPAddress, IPAddressSpec, ParentReference, ServiceCIDR, ServiceCIDRSpec
from kybern.apiserver.allocation.addresses import FAMILY
from kybern.apiserver.allocation.services import ServiceAllocation
from kybern.apiserver.request import Admission, ReservingPlugin, User
from kybern.registry.resource import Resource
from kybern.testing.memory_objects import MemoryObjects

SERVICES = Resource(kind=next(kind for kind in KINDS if kind.type is Service))


def admission(service: Service, old: Service | None = None, resource: Resource = SERVICES) -> Admission:
    return Admission(
        user=User("jane"), operation="UPDATE" if old else "CREATE", resource=resource, subresource="",
        namespace=service.metadata.namespace or "", name=service.metadata.name or "", object=service, old=old,
        dry_run=False,
    )  # fmt: skip


def service(name: str = "web", kind: str = "ClusterIP", *ports: ServicePort, **more: object) -> Service:
    default = (ServicePort(port=80, protocol="TCP"),)
    spec = ServiceSpec(type=kind, ports=ports or default, **more)
    return Service(metadata=ObjectMeta(name=name, namespace="x"), spec=spec)


class World:
    def __init__(self, *networks: str, ports: range = range(30000, 30010)) -> None:
        self.objects = MemoryObjects()
        found = [ip_network(network) for network in networks or ("10.96.0.0/24",)]
        self.plugin = ServiceAllocation(self.objects, found, Random(1), ports)

    async def write(self, new: Service, old: Service | None = None) -> Service:
        asked = admission(new, old)
        try:
            await self.plugin.admit(asked)
            await self.plugin.validate(asked)
        except Exception:
            self.plugin.abandoned(asked)
            raise
        stored: Service = self.objects.put(asked.object)
        self.plugin.committed(asked)
        return stored

    async def refused(self, new: Service, old: Service | None = None) -> str:
        with pytest.raises(Invalid) as refused:
            await self.write(new, old)
        return refused.value.message

    def used(self) -> tuple[int, int]:
        pools = self.plugin.addresses.values()
        assert not any(pool.set_aside for pool in (*pools, self.plugin.node_ports))
        return sum(len(pool.held) for pool in pools), len(self.plugin.node_ports.held)


def test_it_is_told_how_a_write_ended() -> None:
    assert isinstance(World().plugin, ReservingPlugin)


async def test_a_service_gets_an_address_of_the_upper_part() -> None:
    stored = await World().write(service())
    assert stored.spec.cluster_ips == (stored.spec.cluster_ip,)
    assert int(stored.spec.cluster_ip.split(".")[3]) > 16
    assert (stored.spec.ip_families, stored.spec.ip_family_policy) == (("IPv4",), "SingleStack")


async def test_headless_and_external_name_need_no_address() -> None:
    world = World()
    stored = await world.write(service(cluster_ip="None"))
    assert stored.spec.cluster_ips == ("None",)
    stored = await world.write(service("other", "ExternalName", external_name="example.com"))
    assert stored.spec.cluster_ip is None and stored.spec.ip_families is None
    assert world.used() == (0, 0)


async def test_an_address_is_given_once() -> None:
    world = World()
    await world.write(service("a", cluster_ip="10.96.0.10"))
    message = await world.refused(service("b", cluster_ip="10.96.0.10"))
    assert message == (
        'Service "b" is invalid: spec.clusterIPs: Invalid value: ["10.96.0.10"]: '
        "failed to allocate IP 10.96.0.10: provided IP is already allocated"
    )
    assert world.used() == (1, 0)


@pytest.mark.parametrize("address", ["10.96.0.0", "10.96.0.255"])
async def test_the_addresses_of_the_network_itself_are_refused(address: str) -> None:
    message = await World().refused(service(cluster_ip=address))
    assert f"the provided IP ({address}) is not in the valid range. The range of valid IPs is 10.96.0.0/24" in message


@pytest.mark.parametrize("address", ["10.96.1.1", "1.2.3.4"])
async def test_an_address_outside_of_every_network_is_refused(address: str) -> None:
    message = await World().refused(service(cluster_ip=address))
    assert f"failed to allocate IP {address}: the provided network does not match the current range" in message


async def test_every_address_is_used_before_the_range_is_full() -> None:
    world = World("10.96.0.0/28")
    for number in range(14):
        await world.write(service(f"s{number}"))
    assert world.used() == (14, 0)
    with pytest.raises(InternalError, match="range is full"):
        await world.write(service("more"))
    world.objects.remove(world.objects.get(Service, "s3", "x"))
    assert (await world.write(service("more"))).spec.cluster_ip


async def test_writes_under_way_at_once_never_share_a_value() -> None:
    world = World("10.96.0.0/28")
    asked = [admission(service(f"s{number}", "NodePort")) for number in range(10)]
    for one in asked:
        await world.plugin.admit(one)
    assert len({one.object.spec.cluster_ip for one in asked}) == 10
    assert len({one.object.spec.ports[0].node_port for one in asked}) == 10
    for one in asked:
        world.plugin.abandoned(one)
    assert world.used() == (0, 0)


async def test_a_refused_write_gives_everything_back() -> None:
    world = World()
    ports = (ServicePort(port=80, protocol="TCP"), ServicePort(port=81, protocol="TCP", node_port=29999))
    message = await world.refused(service("a", "NodePort", *ports))
    assert message == (
        'Service "a" is invalid: spec.ports[1].nodePort: Invalid value: 29999: provided port is not in the valid '
        "range. The range of valid ports is 30000-30009"
    )
    assert world.used() == (0, 0)


async def test_a_node_port_is_given_once() -> None:
    world = World()
    await world.write(service("a", "NodePort", ServicePort(port=80, protocol="TCP", node_port=30005)))
    message = await world.refused(service("b", "NodePort", ServicePort(port=80, protocol="TCP", node_port=30005)))
    assert "spec.ports[0].nodePort: Invalid value: 30005: provided port is already allocated" in message


async def test_one_port_under_two_protocols_is_one_node_port() -> None:
    ports = (ServicePort(port=53, protocol="TCP"), ServicePort(port=53, protocol="UDP"))
    stored = await World().write(service("dns", "NodePort", *ports))
    assert stored.spec.ports[0].node_port == stored.spec.ports[1].node_port


async def test_two_ports_of_one_number_and_protocol_never_share_a_node_port() -> None:
    ports = tuple(ServicePort(port=53, protocol=protocol, name=name) for protocol, name in (("TCP", "a"), ("TCP", "b")))
    stored = await World().write(service("dns", "NodePort", *ports))
    assert stored.spec.ports[0].node_port != stored.spec.ports[1].node_port


async def test_an_update_that_leaves_them_out_keeps_address_and_node_port() -> None:
    world = World()
    old = await world.write(service("web", "NodePort"))
    new = await world.write(service("web", "NodePort"), old)
    assert new.spec.cluster_ip == old.spec.cluster_ip
    assert new.spec.ports == old.spec.ports


async def test_a_change_of_type_takes_and_gives_back() -> None:
    world = World()
    plain = await world.write(service())
    open_ = await world.write(replace(plain, spec=replace(plain.spec, type="NodePort")), plain)
    assert world.used() == (1, 1)
    again = await world.write(replace(open_, spec=replace(open_.spec, type="ClusterIP")), open_)
    assert again.spec.ports[0].node_port is None
    assert world.used() == (1, 0)
    named = replace(again.spec, type="ExternalName", external_name="example.com")
    stored = await world.write(replace(again, spec=named), again)
    assert stored.spec.cluster_ip is None
    assert world.used() == (0, 0)
    assert (await world.write(replace(stored, spec=replace(stored.spec, type="ClusterIP")), stored)).spec.cluster_ip


async def test_a_restart_knows_what_is_taken() -> None:
    world = World()
    await world.write(service("a", "NodePort", cluster_ip="10.96.0.7"))
    again = World()
    again.objects = world.objects
    again.plugin = ServiceAllocation(world.objects, [ip_network("10.96.0.0/24")], Random(2), range(30000, 30010))
    assert again.used() == (1, 1)
    assert "already allocated" in await again.refused(service("b", cluster_ip="10.96.0.7"))


async def test_a_second_family_is_refused_in_a_cluster_of_one() -> None:
    message = await World().refused(service(ip_family_policy="RequireDualStack", ip_families=("IPv4", "IPv6")))
    assert 'spec.ipFamilyPolicy: Invalid value: "RequireDualStack"' in message
    assert 'spec.ipFamilies[1]: Invalid value: "IPv6": not configured on this cluster' in message
    assert (await World().write(service(ip_family_policy="PreferDualStack"))).spec.cluster_ip


async def test_what_goes_with_a_type_goes_with_it_unless_it_is_written_anew() -> None:
    world = World()
    old = await world.write(service("web", "NodePort", external_traffic_policy="Cluster"))
    plain = replace(old.spec, type="ClusterIP")
    assert (await world.write(replace(old, spec=plain), old)).spec.external_traffic_policy is None
    anew = replace(plain, external_traffic_policy="Local")
    assert (await world.write(replace(old, spec=anew), old)).spec.external_traffic_policy == "Local"


DUAL = ("10.96.0.0/24", "fd00:96::/112")


async def test_two_families_are_an_address_of_each_in_the_order_asked_for() -> None:
    stored = await World(*DUAL).write(service(ip_family_policy="RequireDualStack", ip_families=("IPv6", "IPv4")))
    assert [ip_address(address).version for address in stored.spec.cluster_ips or ()] == [6, 4]
    assert stored.spec.cluster_ip == stored.spec.cluster_ips[0]


async def test_a_second_address_comes_and_goes_with_the_policy() -> None:
    world = World(*DUAL)
    old = await world.write(service())
    both = await world.write(replace(old, spec=replace(old.spec, ip_family_policy="RequireDualStack")), old)
    assert both.spec.cluster_ips[0] == old.spec.cluster_ip
    assert (len(both.spec.cluster_ips), world.used()) == (2, (2, 0))
    one = await world.write(replace(both, spec=replace(both.spec, ip_family_policy="SingleStack")), both)
    assert (one.spec.cluster_ips, one.spec.ip_families, world.used()) == ((old.spec.cluster_ip,), ("IPv4",), (1, 0))


async def test_a_named_second_address_is_given_once() -> None:
    world = World(*DUAL)
    both = {
        "ip_family_policy": "PreferDualStack",
        "cluster_ip": "10.96.0.9",
        "cluster_ips": ("10.96.0.9", "fd00:96::9"),
    }
    await world.write(service("a", **both))
    second = {**both, "cluster_ip": "10.96.0.8", "cluster_ips": ("10.96.0.8", "fd00:96::9")}
    message = await world.refused(service("b", **second))
    assert "failed to allocate IP fd00:96::9: provided IP is already allocated" in message


async def test_every_address_is_an_object_of_its_own_before_its_service_is_stored() -> None:
    world = World(*DUAL)
    asked = admission(service(ip_family_policy="RequireDualStack"))
    await world.plugin.admit(asked)
    await world.plugin.validate(asked)
    found = world.objects.list(IPAddress)
    assert [one.metadata.name for one in found] == list(asked.object.spec.cluster_ips)
    assert [one.metadata.labels[FAMILY] for one in found] == ["IPv4", "IPv6"]
    assert {
        (one.spec.parent_ref.resource, one.spec.parent_ref.namespace, one.spec.parent_ref.name) for one in found
    } == {("services", "x", "web")}


async def test_a_dry_run_makes_no_address_object() -> None:
    world = World()
    asked = admission(service())
    asked.dry_run = True
    await world.plugin.admit(asked)
    await world.plugin.validate(asked)
    assert asked.object.spec.cluster_ip and not world.objects.list(IPAddress)


async def test_an_address_that_somebody_else_has_taken_as_an_object_is_not_given() -> None:
    world = World("10.96.0.0/29")
    ref = ParentReference(group="gateway.networking.k8s.io", resource="gateways", namespace="x", name="g")
    for number in range(1, 6):
        meta = ObjectMeta(name=f"10.96.0.{number}")
        world.objects.put(IPAddress(metadata=meta, spec=IPAddressSpec(parent_ref=ref)))
    assert "provided IP is already allocated" in await world.refused(service(cluster_ip="10.96.0.3"))
    assert (await world.write(service())).spec.cluster_ip == "10.96.0.6"
    with pytest.raises(InternalError, match="range is full"):
        await world.write(service("other"))


async def repaired(world: World) -> list[tuple[str, str]]:
    """Names of the addresses that there are once nothing is in doubt, and of the Services they belong to."""
    running = asyncio.ensure_future(world.plugin.run())
    while world.plugin.address_objects.doubtful or world.plugin.address_objects.woken.is_set():
        await asyncio.sleep(0)
    running.cancel()
    found = world.objects.list(IPAddress)
    return sorted((one.metadata.name or "", one.spec.parent_ref.name) for one in found)


async def test_addresses_go_with_their_service_and_those_of_a_refused_write_too() -> None:
    world = World()
    kept = await world.write(service("kept"))
    gone = await world.write(service("gone"))
    world.objects.remove(gone)
    refused = admission(service("refused"))
    await world.plugin.admit(refused)
    await world.plugin.validate(refused)
    world.plugin.abandoned(refused)
    assert len(world.objects.list(IPAddress)) == 3
    assert await repaired(world) == [(kept.spec.cluster_ip, "kept")]


async def test_what_is_missing_or_refers_to_somebody_else_is_made_anew() -> None:
    world = World()
    one, two = [await world.write(service(name)) for name in ("one", "two")]
    [first, second] = [world.objects.get(IPAddress, found.spec.cluster_ip) for found in (one, two)]
    world.objects.remove(first)
    world.objects.put(replace(second, spec=IPAddressSpec(parent_ref=replace(second.spec.parent_ref, name="nobody"))))
    assert await repaired(world) == sorted([(one.spec.cluster_ip, "one"), (two.spec.cluster_ip, "two")])


async def test_a_service_made_again_has_its_old_address_at_once() -> None:
    world = World()
    stored = await world.write(service("web", cluster_ip="10.96.0.7"))
    world.objects.remove(stored)
    await world.write(service("other", cluster_ip="10.96.0.7"))
    assert world.objects.get(IPAddress, "10.96.0.7").spec.parent_ref.name == "other"


async def test_further_ranges_give_addresses_while_they_are_ready() -> None:
    world = World()
    for name, cidr in (("kubernetes", "10.96.0.0/24"), ("more", "10.97.0.0/24")):
        world.objects.put(ServiceCIDR(metadata=ObjectMeta(name=name), spec=ServiceCIDRSpec(cidrs=(cidr,))))
    await world.write(service("a", cluster_ip="10.97.0.9"))
    going = world.objects.get(ServiceCIDR, "more")
    meta = replace(going.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    world.objects.put(replace(going, metadata=meta))
    message = await world.refused(service("b", cluster_ip="10.97.0.10"))
    assert "the provided network does not match the current range" in message
