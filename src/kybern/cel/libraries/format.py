"""The named formats of Kubernetes' texts, which say what is wrong instead of no."""

import re
from base64 import b64decode
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any

from kybern.api import names
from kybern.cel import costs, times
from kybern.cel.errors import EvaluationError
from kybern.cel.functions import Library, function, member
from kybern.cel.libraries.url import url
from kybern.cel.types import STRING, list_of, opaque, optional_of
from kybern.cel.values import NONE, Opaque, Optional

Check = Callable[[str], Iterable[str]]

FORMAT_TYPE = opaque("kubernetes.NamedFormat")
UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Format(Opaque):
    __slots__ = ("check", "pattern_length")
    cel_type = FORMAT_TYPE

    def __init__(self, name: str) -> None:
        self.check = FORMATS[name]
        self.pattern_length = PATTERN_LENGTHS.get(name, PATTERN_LENGTH_MAX)


def prefix(check: Check) -> Check:
    """A prefix of a name may end in a dash: something follows it."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") else text)


def parsed(parse: Callable[[str], Any], otherwise: str = "") -> Check:
    def check(text: str) -> Iterable[str]:
        try:
            parse(text)
        except (EvaluationError, ValueError) as error:
            return [otherwise or str(error)]
        return []

    return check


def date(text: str) -> None:
    if DATE.fullmatch(text) is None:
        raise ValueError
    times.timestamp(f"{text}T00:00:00Z")


FORMATS: dict[str, Check] = {
    "dns1123Label": names.dns1123_label,
    "dns1123Subdomain": names.dns1123_subdomain,
    "dns1035Label": names.dns1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": prefix(names.dns1123_label),
    "dns1123SubdomainPrefix": prefix(names.dns1123_subdomain),
    "dns1035LabelPrefix": prefix(names.dns1035_label),
    "labelValue": names.label_value,
    "uri": parsed(url),
    "uuid": lambda text: [] if UUID.fullmatch(text) else ["does not match the UUID format"],
    "byte": parsed(lambda text: b64decode(text, validate=True), "invalid base64"),
    "date": parsed(date, "invalid date"),
    "datetime": parsed(times.timestamp, "invalid datetime"),
}


def named(name: str) -> Optional:
    return Optional(Format(name)) if name in FORMATS else NONE


def validate(format_: Format, text: str) -> Optional:
    wrong = list(format_.check(text))
    return Optional(wrong) if wrong else NONE


PATTERN_LENGTH_MAX = 128
PATTERN_LENGTHS = {
    "dns1123Label": 30, "dns1123LabelPrefix": 30, "dns1035Label": 30, "dns1035LabelPrefix": 30, "labelValue": 40,
    "dns1123Subdomain": 60, "dns1123SubdomainPrefix": 60, "qualifiedName": 60,
}  # fmt: skip
"""What upstream charges for: as if each were one pattern of this length."""
VALIDATION = costs.Cost(
    lambda args, result: ceil(len(args[1]) * costs.TRAVERSAL) * ceil(args[0].pattern_length * costs.PATTERN),
    lambda sizes: (
        sizes[1].scaled(costs.TRAVERSAL).times(costs.exactly(ceil(PATTERN_LENGTH_MAX * costs.PATTERN))),
        None,
    ),
)
FORMAT: Library = (
    function("format.named", (STRING,), optional_of(FORMAT_TYPE), named),
    *(function(f"format.{name}", (), FORMAT_TYPE, lambda name=name: Format(name)) for name, check in FORMATS.items()),
    member("validate", (FORMAT_TYPE, STRING), optional_of(list_of(STRING)), validate, VALIDATION),
)
