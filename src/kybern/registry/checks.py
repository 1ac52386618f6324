"""Checks that many kinds share: numbers, ports, choices, references, selectors, paths. Each yields what is wrong."""

import ipaddress
import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Sized
from typing import Any

from kybern.api import names
from kybern.api.invalid import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required, too_many
from kybern.api.meta_v1 import LabelSelector

NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
UINT32_MAX = 2**32 - 1
DOMAIN_PATH = re.compile(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+")
LINK_LOCAL_MULTICAST = (ipaddress.ip_network("224.0.0.0/24"), ipaddress.ip_network("ff02::/16"))


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def named(at: str, value: str | None, rule: object) -> Iterator[FieldError]:
    """A required text that a rule of `api.names` accepts."""
    if not value:
        yield required(at)
        return
    for wrong in rule(value):  # type: ignore[operator]
        yield invalid_value(at, value, wrong)


def judged(at: str, value: str | None, rule: object) -> Iterator[FieldError]:
    """An optional text that a rule of `api.names` accepts."""
    if value:
        for wrong in rule(value):  # type: ignore[operator]
            yield invalid_value(at, value, wrong)


def present(at: str, value: object) -> Iterator[FieldError]:
    if not value:
        yield required(at)


def not_negative(at: str, value: int | None) -> Iterator[FieldError]:
    if value is not None and value < 0:
        yield invalid_value(at, value, NOT_NEGATIVE)


def one_of(at: str, value: str | None, choices: Iterable[str]) -> Iterator[FieldError]:
    """A required choice."""
    if not value:
        yield required(at)
    elif value not in choices:
        yield not_supported(at, value, choices)


def at_most(at: str, items: Sized, most: int) -> Iterator[FieldError]:
    if len(items) > most:
        yield too_many(at, len(items), most)


def repeated(values: Iterable[Hashable]) -> frozenset[int]:
    """Where a value comes again. In one pass: a list is as long as its sender likes."""
    seen: set[Hashable] = set()
    found = []
    for index, value in enumerate(values):
        if value in seen:
            found.append(index)
        seen.add(value)
    return frozenset(found)


def validate_each(
    at: str, items: Sequence[Any], key: Callable[[Any], Hashable], check: Callable[[Any, str], Iterator[FieldError]]
) -> Iterator[FieldError]:
    """Each item of a list by itself, and that no key comes again."""
    for index, item in enumerate(items):
        yield from check(item, f"{at}[{index}]")
    keys = [key(item) for item in items]
    for index in sorted(repeated(keys)):
        yield duplicate(f"{at}[{index}]", keys[index])


def port_or_name(at: str, value: int | str) -> Iterator[FieldError]:
    for wrong in names.port_number(value) if isinstance(value, int) else names.port_name(value):
        yield invalid_value(at, value, wrong)


def ordinary_address(at: str, address: str) -> Iterator[FieldError]:
    """One of some machine: no loopback, no link's own, nobody's."""
    found = ipaddress.ip_address(address)
    if found.version == 6 and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_unspecified:
        yield invalid_value(at, address, f"may not be unspecified ({address})")
    if found.is_loopback:
        yield invalid_value(at, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if found.is_link_local:
        yield invalid_value(at, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if any(found.version == block.version and found in block for block in LINK_LOCAL_MULTICAST):
        yield invalid_value(at, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def int_or_percent(at: str, value: int | str | None) -> Iterator[FieldError]:
    """A count, or a share of one: 3, 25%."""
    if isinstance(value, str):
        for wrong in names.percent(value):
            yield invalid_value(at, value, wrong)
    else:
        yield from not_negative(at, value)


def is_nothing(value: int | str | None) -> bool:
    """Also of a text that is no share: upstream reads that as the number it is, or as none. Its length is its sender's."""
    if not isinstance(value, str):
        return not value
    digits = value.removesuffix("%") if value.endswith("%") and value[:-1].isdecimal() else value
    return not (digits.removeprefix("-").isdecimal() and digits.strip("-0"))


def not_above_all(at: str, value: int | str | None) -> Iterator[FieldError]:
    if not (isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal()):
        return
    share = value[:-1].lstrip("0")
    if len(share) > 3 or int(share or "0") > 100:
        yield invalid_value(at, value, "must not be greater than 100%")


def immutable(at: str, new: object, old: object) -> Iterator[FieldError]:
    if new is not old and new != old:
        yield invalid_value(at, new, IMMUTABLE)


def relative_path(at: str, path: str) -> Iterator[FieldError]:
    """Beneath the folder that it is joined to."""
    if path.startswith("/"):
        yield invalid_value(at, path, "must be a relative path")
    yield from no_backsteps(at, path)


def no_backsteps(at: str, path: str) -> Iterator[FieldError]:
    if ".." in path and ".." in path.split("/"):
        yield invalid_value(at, path, "must not contain '..'")


def projected_path(at: str, path: str) -> Iterator[FieldError]:
    """A file name that the atomic writer of volumes keeps for itself is refused as well."""
    yield from relative_path(at, path)
    if path.startswith("..") and not path.startswith("../") and path != "..":
        yield invalid_value(at, path, "must not start with '..'")


def domain_path(at: str, text: str) -> Iterator[FieldError]:
    """`acme.io/foo`: whose it is, and what they call it."""
    if not text:
        yield required(at)
        return
    domain, _, path = text.partition("/")
    if not domain or not path:
        yield invalid_value(at, text, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    for wrong in names.dns1123_subdomain(domain):
        yield invalid_value(at, domain, wrong)
    if not DOMAIN_PATH.fullmatch(path):
        yield invalid_value(at, path, names.mismatch("Invalid path", DOMAIN_PATH.pattern))


# --- selectors --------------------------------------------------------------------------------------------------------


def label_selector(selector: LabelSelector | None, at: str) -> Iterator[FieldError]:
    if selector is None:
        return
    if selector.match_labels:
        yield from labels(selector.match_labels.items(), f"{at}.matchLabels")
    for index, expression in enumerate(selector.match_expressions or ()):
        here = f"{at}.matchExpressions[{index}]"
        yield from operator_values(expression.operator, expression.values, here)
        for wrong in names.qualified_name(expression.key):
            yield invalid_value(f"{here}.key", expression.key, wrong)
        for place, value in enumerate(expression.values or ()):
            for wrong in names.label_value(value):
                yield invalid_value(f"{here}.values[{place}]", value, wrong)


def labels(pairs: Iterable[tuple[str, str]], at: str) -> Iterator[FieldError]:
    for key, value in pairs:
        for wrong in names.qualified_name(key):
            yield invalid_value(at, key, wrong)
        for wrong in names.label_value(value):
            yield invalid_value(at, value, wrong)


def operator_values(operator: str, values: tuple[str, ...] | None, at: str) -> Iterator[FieldError]:
    if operator in ("In", "NotIn"):
        if not values:
            yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield forbidden_field(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    else:
        yield invalid_value(f"{at}.operator", operator, "not a valid selector operator")
