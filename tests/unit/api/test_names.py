from collections.abc import Callable

import pytest

from kybern.api import names


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (names.dns1123_label, "a-1"), (names.dns1123_subdomain, "a.b-c.1"), (names.dns1035_label, "a-1"),
        (names.qualified_name, "example.com/My_Name.1"), (names.label_value, ""), (names.label_value, "A_b.c-1"),
        (names.port_name, "http-8080"), (names.path_segment, "system:admin"),
        (names.relaxed_env_var_name, "1 odd-name!"), (names.config_key, "a..b"), (names.ip, "10.0.0.1"), (names.ip, "::1"),
        (names.cidr, "10.0.0.1/8"), (names.cidr, "fd00::/8"), (names.wildcard_subdomain, "*.example.com"),
        (names.c_identifier, "_a1"), (names.http_header, "X-Header"), (names.percent, "25%"),
        (names.dns1123_subdomain, ".".join(["a" * 62] * 4)),
    ],
)  # fmt: skip
def test_a_good_name_has_nothing_wrong(rule: Callable[[str], names.Wrong], text: str) -> None:
    assert rule(text) == ()


@pytest.mark.parametrize(
    ("rule", "text", "wrong"),
    [
        (names.dns1123_subdomain, "A",
         "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
         "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
         "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"),
        (names.dns1123_label, "a.b", "must not contain dots"),
        (names.dns1123_label, "a" * 64, "must be no more than 63 bytes"),
        (names.dns1035_label, "1a",
         "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
         "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
         "'[a-z]([-a-z0-9]*[a-z0-9])?')"),
        (names.qualified_name, "/x", "prefix part must be non-empty"),
        (names.port_name, "a--b", "must not contain consecutive hyphens"),
        (names.port_name, "80", "must contain at least one letter (a-z)"),
        (names.path_segment, "a/b", "may not contain '/'"),
        (names.path_segment, "..", "may not be '..'"),
        (names.config_key, "..a", "must not start with '..'"),
        (names.ip, "10.0.0.256", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        (names.ip, "fe80::1%eth0", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        (names.cidr, "10.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
        (names.cidr, "10.0.0.0/255.0.0.0", "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"),
    ],
)  # fmt: skip
def test_a_bad_name_is_refused_in_upstreams_words(rule: Callable[[str], names.Wrong], text: str, wrong: str) -> None:
    assert rule(text) == (wrong,)


@pytest.mark.parametrize("text", ["a\n", "", "a_", "-a", "ä"])
def test_a_line_end_or_a_foreign_letter_is_no_part_of_a_name(text: str) -> None:
    assert names.dns1123_label(text)
    assert names.qualified_name(text)


def test_an_empty_qualified_name_is_wrong_twice_as_upstream_says_it() -> None:
    assert names.qualified_name("")[0] == "name part must be non-empty"
    assert len(names.qualified_name("")) == 2


def test_port_numbers_have_bounds() -> None:
    assert names.port_number(1) == names.port_number(65535) == ()
    assert names.port_number(0) == names.port_number(65536) == ("must be between 1 and 65535, inclusive",)


def test_a_name_without_end_is_wrong_and_not_remembered() -> None:
    endless = "a" * 1_000_000
    assert names.dns1123_subdomain(endless) == ("must be no more than 253 bytes",)
    assert names.label_value(endless) == ("must be no more than 63 bytes",)
