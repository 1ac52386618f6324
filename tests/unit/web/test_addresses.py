"""Whether an address is this machine's own, however it is spelt."""

import pytest

from kybern.web.addresses import is_port, names_own


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "fe80::1"),
        *("127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
        "169.254.169.254",
    ],
)
def test_this_machine_and_its_link_are_known_in_every_spelling(host: str) -> None:
    assert names_own(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "registry.example", "fd00::1", "::ffff:10.0.0.1", "", "127", "mylocalhost"]
)
def test_others_are_not(host: str) -> None:
    assert not names_own(host)


def test_a_port_has_at_most_five_digits() -> None:
    ports = ("1", "65535", "0", "65536", "-1", "", "8 ", "000080", "٣")
    assert [is_port(port) for port in ports] == [True, True, *[False] * 7]
