"""The formats of texts that a custom resource's schema can ask for; any other says nothing.

Each is told by a function of the text. Names are without dashes, as upstream looks them up.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from email.utils import getaddresses
from urllib.parse import urlsplit

from kybern.api import names

Format = Callable[[str], bool]

HEX = "[0-9a-f]"
UUID = f"{HEX}{{8}}-?{HEX}{{4}}-?%s{HEX}{{3}}-?%s{HEX}{{3}}-?{HEX}{{12}}"
CARD = re.compile(
    "4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    "|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}"
    "|6[27][0-9]{14}"
)
CHANNEL = "(?:[01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])"
DATE_TIME = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
GO_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
WORDED_DURATION = re.compile(r"(?<!\d)(\d++)\s*+([A-Za-zµ]++)", re.ASCII)  # what has no unit is not looked at again
UNITS = ("ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d", "day", "w",
         "wk", "week")  # fmt: skip
WORDS = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")
MACS = re.compile(r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4,18}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2,9}[0-9a-f]{4}", re.I)
MAC_BYTES = (6, 8, 20)
EMAIL_LENGTH_MAX = 1024
HOST_LABEL = re.compile(r"[^\W_](?:[^\W_]|-(?=[^\W_]))*")


def matching(pattern: str, flags: int = re.ASCII) -> Format:
    whole = re.compile(pattern, flags)
    return lambda text: whole.fullmatch(text) is not None


def uuid(version: str, variant: str) -> Format:
    return matching(UUID % (version, variant), re.ASCII | re.IGNORECASE)


def is_uri(text: str) -> bool:
    """As Go's url.ParseRequestURI: absolute, or a path from the root."""
    if any(mark <= " " or mark == "\x7f" for mark in text):
        return False
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return text.startswith("/") or bool(parts.scheme)


def is_email(text: str) -> bool:
    if "\n" in text or len(text) >= EMAIL_LENGTH_MAX:
        return False
    try:
        found = getaddresses([text])
    except RecursionError:  # comments in comments
        return False
    local, _, domain = found[0][1].rpartition("@") if len(found) == 1 else ("", "", "")
    return bool(local and domain) and " " not in domain


def is_hostname(text: str) -> bool:
    if len(text) > 255 or not text:
        return False
    labels = text.split(".")
    return all(len(label) <= 63 and HOST_LABEL.fullmatch(label) for label in labels) and (
        len(labels) == 1 or (len(labels[-1]) >= 2 and not any(mark.isdigit() or mark == "-" for mark in labels[-1]))
    )


def is_ipv4(text: str) -> bool:
    return _parses(ipaddress.IPv4Address, text)


def is_ipv6(text: str) -> bool:
    return "%" not in text and _parses(ipaddress.IPv6Address, text)


def is_cidr(text: str) -> bool:
    prefix = text.partition("/")[2]
    return prefix.isdecimal() and prefix.isascii() and _parses(ipaddress.ip_interface, text)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


def is_mac(text: str) -> bool:
    return MACS.fullmatch(text) is not None and sum(mark.isalnum() for mark in text) // 2 in MAC_BYTES


def is_isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        return False
    return sum((place + 1) * (10 if mark == "X" else int(mark)) for place, mark in enumerate(digits)) % 11 == 0


def is_isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"[0-9]{13}", digits):
        return False
    return sum((1, 3)[place % 2] * int(mark) for place, mark in enumerate(digits)) % 10 == 0


def is_isbn(text: str) -> bool:
    return is_isbn10(text) or is_isbn13(text)


def is_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if not CARD.fullmatch(digits):
        return False
    doubled = (int(mark) * (1 + place % 2) for place, mark in enumerate(reversed(digits)))
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def is_byte(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def is_date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII) is not None and _parses(date.fromisoformat, text)


def is_date_time(text: str) -> bool:
    match = DATE_TIME.fullmatch(text)
    return match is not None and _parses(datetime.fromisoformat, f"{match[1]}T{match[2]}")


def is_duration(text: str) -> bool:
    """Go's `1h5m`, or words as Scala has them: `22 seconds`."""
    if GO_DURATION.fullmatch(text):
        return True
    units = [unit.lower() for _, unit in WORDED_DURATION.findall(text)]
    return any(unit in UNITS or unit.startswith(WORDS) for unit in units)


def is_short_name(text: str) -> bool:
    return len(text) <= 63 and re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", text) is not None


def is_long_name(text: str) -> bool:
    return not names.dns1123_subdomain(text)


FORMATS: Mapping[str, Format] = {
    "bsonobjectid": matching("[0-9a-fA-F]{24}"),
    "uri": is_uri,
    "email": is_email,
    "hostname": is_hostname,
    "ipv4": is_ipv4,
    "ipv6": is_ipv6,
    "cidr": is_cidr,
    "mac": is_mac,
    "uuid": uuid(HEX, HEX),
    "uuid3": uuid("3", HEX),
    "uuid4": uuid("4", "[89ab]"),
    "uuid5": uuid("5", "[89ab]"),
    "isbn": is_isbn,
    "isbn10": is_isbn10,
    "isbn13": is_isbn13,
    "creditcard": is_card,
    "ssn": matching(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "hexcolor": matching("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": matching(rf"rgb\(\s*{CHANNEL}\s*,\s*{CHANNEL}\s*,\s*{CHANNEL}\s*\)"),
    "byte": is_byte,
    "password": lambda text: True,
    "date": is_date,
    "duration": is_duration,
    "datetime": is_date_time,
    "k8sshortname": is_short_name,
    "k8slongname": is_long_name,
}
