"""Pod addresses: unique, remembered, reused last."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kybern.network.ipam import Addresses, Exhausted

CIDR = IPv4Network("10.244.7.0/29")  # .0 network, .1 gateway, .2-.6 for pods, .7 broadcast


def test_an_owner_gets_the_same_address_again_even_after_a_restart(tmp_path: Path) -> None:
    address = Addresses(tmp_path, CIDR).take("a")
    assert Addresses(tmp_path, CIDR).take("a") == address == IPv4Address("10.244.7.2")


def test_every_address_is_used_once_and_then_the_range_is_exhausted(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, CIDR)
    taken = {str(addresses.take(f"owner-{i}")) for i in range(5)}
    assert taken == {f"10.244.7.{i}" for i in range(2, 7)}
    with pytest.raises(Exhausted, match="no addresses available"):
        addresses.take("one-too-many")


def test_an_address_given_back_is_the_last_to_be_reused(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, CIDR)
    first = addresses.take("a")
    addresses.give_back("a")
    others = [addresses.take(f"b{i}") for i in range(4)]
    assert first not in others
    assert addresses.take("c") == first


def test_giving_back_twice_does_no_harm(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, CIDR)
    addresses.take("a")
    addresses.give_back("a")
    addresses.give_back("a")
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_an_owner_is_nobodys(tmp_path: Path) -> None:
    """Whoever was about to take it was killed."""
    Addresses(tmp_path, CIDR).take("a")
    (tmp_path / ".new").write_text("half an ow")
    addresses = Addresses(tmp_path, CIDR)
    assert addresses.by_owner.keys() == {"a"}
    addresses.keep_only(())
    assert (addresses.by_owner, list(tmp_path.iterdir())) == ({}, [])
