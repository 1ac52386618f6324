"""What names may look like: one function a rule, each returning what is wrong in upstream's words.

An empty tuple means nothing is wrong. Lengths are in bytes. The registry puts the field in front.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache, wraps

LABEL_BYTES_MAX = 63
SUBDOMAIN_BYTES_MAX = 253
PORT_NAME_BYTES_MAX = 15
NAMES_REMEMBERED = 8192  # the same few names and label keys come again and again
NAME_LENGTH_REMEMBERED_MAX = 320  # what is longer is wrong, and must not fill the memory

Wrong = tuple[str, ...]

QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
LABEL_VALUE = f"({QUALIFIED})?"
DNS1123_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS1123_SUBDOMAIN = rf"{DNS1123_LABEL}(\.{DNS1123_LABEL})*"
UNDERSCORED_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
UNDERSCORED_SUBDOMAIN = rf"{UNDERSCORED_LABEL}(\.{UNDERSCORED_LABEL})*"
WILDCARD_SUBDOMAIN = rf"\*\.{DNS1123_SUBDOMAIN}"
DNS1035_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
CONFIG_KEY = "[-._a-zA-Z0-9]+"
HTTP_HEADER = "[-A-Za-z0-9]+"
PERCENT = "[0-9]+%"

_patterns = {
    text: re.compile(text)
    for text in (
        QUALIFIED, LABEL_VALUE, DNS1123_LABEL, DNS1123_SUBDOMAIN, UNDERSCORED_SUBDOMAIN, WILDCARD_SUBDOMAIN, DNS1035_LABEL, C_IDENTIFIER,
        CONFIG_KEY, HTTP_HEADER, PERCENT,
    )
}  # fmt: skip


def _matches(pattern: str, text: str) -> bool:
    return _patterns[pattern].fullmatch(text) is not None


def _remembered(rule: Callable[[str], Wrong]) -> Callable[[str], Wrong]:
    """The rule, with its answers for the names that come again."""
    known = lru_cache(NAMES_REMEMBERED)(rule)

    @wraps(rule)
    def answer(text: str) -> Wrong:
        return known(text) if len(text) <= NAME_LENGTH_REMEMBERED_MAX else rule(text)

    return answer


def mismatch(message: str, pattern: str, *examples: str) -> str:
    """Upstream's sentence for a text that does not match: the message, examples, the pattern."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    listed = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {listed}regex used for validation is '{pattern}')"


def too_long(bytes_max: int) -> str:
    return f"must be no more than {bytes_max} bytes"


def _length(text: str, bytes_max: int) -> Wrong:
    return (too_long(bytes_max),) if len(text.encode(errors="replace")) > bytes_max else ()


def _pattern(text: str, pattern: str, message: str, *examples: str) -> Wrong:
    return () if _matches(pattern, text) else (mismatch(message, pattern, *examples),)


NAME_PART = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
NAME_PART_EXAMPLES = ("MyName", "my.name", "123-abc")


@_remembered
def qualified_name(text: str) -> Wrong:
    """A label key, an annotation key, a resource name: `app`, `example.com/app`."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        sentence = mismatch(NAME_PART, QUALIFIED, *NAME_PART_EXAMPLES)
        return (
            f"a qualified name {sentence} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    wrong: list[str] = []
    if slash:
        wrong += (
            ["prefix part must be non-empty"] if not prefix else [f"prefix part {w}" for w in dns1123_subdomain(prefix)]
        )
    if not name:
        wrong.append("name part must be non-empty")
    wrong += [f"name part {w}" for w in _length(name, LABEL_BYTES_MAX)]
    wrong += [f"name part {w}" for w in _pattern(name, QUALIFIED, NAME_PART, *NAME_PART_EXAMPLES)]
    return tuple(wrong)


@_remembered
def label_value(text: str) -> Wrong:
    message = f"a valid label must be an empty string or {NAME_PART[len('must ') :]}"
    examples = ("MyValue", "my_value", "12345")
    return _length(text, LABEL_BYTES_MAX) + _pattern(text, LABEL_VALUE, message, *examples)


@_remembered
def dns1123_label(text: str) -> Wrong:
    wrong = _length(text, LABEL_BYTES_MAX)
    if _matches(DNS1123_LABEL, text):
        return wrong
    if _matches(DNS1123_SUBDOMAIN, text):
        return (*wrong, "must not contain dots")
    message = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character"
    )
    return (*wrong, mismatch(message, DNS1123_LABEL, "my-name", "123-abc"))


@_remembered
def dns1123_subdomain(text: str) -> Wrong:
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _length(text, SUBDOMAIN_BYTES_MAX) + _pattern(text, DNS1123_SUBDOMAIN, message, "example.com")


def underscored_subdomain(text: str) -> Wrong:
    """A domain that resolvers search: service records have underscores."""
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
        "and must start and end with an alphanumeric character"
    )
    return _length(text, SUBDOMAIN_BYTES_MAX) + _pattern(text, UNDERSCORED_SUBDOMAIN, message, "example.com")


def wildcard_subdomain(text: str) -> Wrong:
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return _length(text, SUBDOMAIN_BYTES_MAX) + _pattern(text, WILDCARD_SUBDOMAIN, message, "*.example.com")


@_remembered
def dns1035_label(text: str) -> Wrong:
    message = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
        "start with an alphabetic character, and end with an alphanumeric character"
    )
    return _length(text, LABEL_BYTES_MAX) + _pattern(text, DNS1035_LABEL, message, "my-name", "abc-123")


@_remembered
def port_name(text: str) -> Wrong:
    """The name of a port where numbers are allowed too: IANA's service names."""
    wrong = list(_length(text, PORT_NAME_BYTES_MAX))
    if not re.fullmatch("[-a-z0-9]+", text):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in text:
        wrong.append("must not contain consecutive hyphens")
    if text.startswith("-") or text.endswith("-"):
        wrong.append("must not begin or end with a hyphen")
    return tuple(wrong)


def port_number(number: int) -> Wrong:
    return () if 1 <= number <= 65535 else ("must be between 1 and 65535, inclusive",)


def path_segment(text: str) -> Wrong:
    """A name that only has to be safe in a URL: RBAC's."""
    if text in (".", ".."):
        return (f"may not be '{text}'",)
    wrong = tuple(f"may not contain '{mark}'" for mark in "/%" if mark in text)
    return (*wrong, "may not contain NUL") if "\x00" in text else wrong  # nothing could address it


def c_identifier(text: str) -> Wrong:
    message = (
        "a valid C identifier must start with alphabetic character or '_', "
        "followed by a string of alphanumeric characters or '_'"
    )
    return _pattern(text, C_IDENTIFIER, message, "my_name", "MY_NAME", "MyName")


def relaxed_env_var_name(text: str) -> Wrong:
    """A container's `env`: anything printable without an equals sign."""
    if not text:
        return ("environment variable name must be non-empty",)
    if all(" " <= mark <= "~" and mark != "=" for mark in text):
        return ()
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


def config_key(text: str) -> Wrong:
    """A key of a ConfigMap or Secret: it becomes a file name."""
    message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    wrong = _length(text, SUBDOMAIN_BYTES_MAX)
    return wrong + _pattern(text, CONFIG_KEY, message, "key.name", "KEY_NAME", "key-name") + _parent_folder(text)


def _parent_folder(text: str) -> Wrong:
    if text in (".", ".."):
        return (f"must not be '{text}'",)
    return ("must not start with '..'",) if text.startswith("..") else ()


def http_header(text: str) -> Wrong:
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return _pattern(text, HTTP_HEADER, message, "X-Header-Name")


def percent(text: str) -> Wrong:
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return _pattern(text, PERCENT, message, "1%", "93%")


def ip(text: str) -> Wrong:
    try:
        ipaddress.ip_address("" if "%" in text else text)
    except ValueError:
        return ("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",)
    return ()


def cidr(text: str) -> Wrong:
    try:
        address, slash, bits = text.partition("/")
        if not slash or not bits.isdecimal() or "%" in address:
            raise ValueError
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return ("must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",)
    return ()
