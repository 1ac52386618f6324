"""What pods ask of the network by annotations, and what they are told when they cannot have it."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from kybern.network.wishes import ADDRESS, EGRESS, INGRESS, Holders, Wishes, refuse_address, wishes


def test_bandwidths_are_bits_and_an_address_follows_the_ordinal() -> None:
    asked = {INGRESS: "10M", EGRESS: "1G", ADDRESS: "10.244.250.10"}
    found = wishes(asked, {"apps.kubernetes.io/pod-index": "3"})
    assert found == Wishes(10_000_000, 1_000_000_000, IPv4Address("10.244.250.13"))
    assert wishes({}, {}) == Wishes()


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [(INGRESS, "10", "unreasonably small"), (EGRESS, "2P", "unreasonably large"), (INGRESS, "fast", "quantities"),
     (ADDRESS, "here", "does not appear to be an IPv4 or IPv6 address")],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_is_said(annotation: str, value: str, said: str) -> None:
    with pytest.raises(OSError, match=said):
        wishes({annotation: value}, {})


@pytest.mark.parametrize(
    ("address", "said"),
    [("192.0.2.1", "not in the cluster's pod network"), ("10.244.7.9", "for the pods of node b"),
     ("10.244.250.10", "in use by pod d/other")],
)  # fmt: skip
def test_an_address_that_is_not_to_be_had_is_refused_with_the_reason(address: str, said: str) -> None:
    known = Holders(
        (IPv4Network("10.244.0.0/16"),),
        lambda ip: "b" if ip in IPv4Network("10.244.7.0/24") else "",
        lambda ip: ("u2", "d/other") if str(ip) == "10.244.250.10" else ("", ""),
    )
    with pytest.raises(OSError, match=said):
        refuse_address(IPv4Address(address), "u1", "a", known)
    refuse_address(IPv4Address("10.244.250.11"), "u1", "a", known)
    refuse_address(IPv4Address("10.244.250.10"), "u2", "a", known)
