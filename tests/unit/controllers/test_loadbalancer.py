"""Which address a Service of type LoadBalancer gets, and what is said where there is none."""

from ipaddress import IPv4Network, IPv6Network

import pytest

from kybern.api.core_v1 import Service, ServiceSpec
from kybern.api.meta_v1 import ObjectMeta
from kybern.controllers.loadbalancer import Unavailable, chosen, is_ours, wanted, with_addresses

POOL = IPv4Network("10.106.1.0/30")  # two addresses


def service(name: str, address: str = "", **spec: str) -> Service:
    found = Service(
        metadata=ObjectMeta(name=name, namespace="d", uid=name), spec=ServiceSpec(type="LoadBalancer", **spec)
    )  # type: ignore[arg-type]
    return with_addresses(found, (address,) if address else ())


def test_the_first_free_address_is_given_and_then_kept() -> None:
    assert chosen(service("b"), [service("a", "10.106.1.1"), service("b")], POOL) == "10.106.1.2"
    assert chosen(service("b", "10.106.1.2"), [service("b", "10.106.1.2")], POOL) == "10.106.1.2"


def test_an_exhausted_pool_is_said() -> None:
    others = [service("a", "10.106.1.1"), service("b", "10.106.1.2")]
    with pytest.raises(Unavailable, match=r"no addresses available in the load balancer pool 10\.106\.1\.0/30"):
        chosen(service("c"), others, POOL)


def test_an_address_that_is_asked_for_is_given_or_it_is_said_who_has_it() -> None:
    asked = service("c", load_balancer_ip="10.106.1.2")
    assert chosen(asked, [service("a", "10.106.1.1")], POOL) == "10.106.1.2"
    with pytest.raises(Unavailable, match="in use by service d/b"):
        chosen(asked, [service("b", "10.106.1.2")], POOL)
    for wrong in ("192.0.2.1", "nonsense"):
        with pytest.raises(Unavailable, match="is not in the pool"):
            chosen(service("c", load_balancer_ip=wrong), [], POOL)


def test_a_service_of_a_class_is_anothers() -> None:
    assert is_ours(service("a")) and not is_ours(service("a", load_balancer_class="example.com/x"))


def test_a_service_of_both_families_gets_an_address_of_each_in_its_own_order() -> None:
    pools = (POOL, IPv6Network("fd00::/126"))
    both = service("a", ip_families=("IPv6", "IPv4"))  # type: ignore[arg-type]
    assert wanted(both, [both], pools) == ["fd00::1", "10.106.1.1"]
    assert wanted(service("b"), [with_addresses(both, ("fd00::1", "10.106.1.1"))], pools) == ["10.106.1.2"]
    asked = service("c", ip_families=("IPv4", "IPv6"), load_balancer_ip="fd00::2")  # type: ignore[arg-type]
    assert wanted(asked, [], pools) == ["10.106.1.1", "fd00::2"]
