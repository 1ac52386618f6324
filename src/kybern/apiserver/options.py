"""The query parameters of a request, checked: what `metav1.CreateOptions` and its relatives say."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from kybern.api.errors import About, BadRequest, invalid
from kybern.api.invalid import FieldError, invalid_value, not_supported, printed, too_long
from kybern.api.numbers import integer
from kybern.apiserver.request import ApiRequest, User

LARGE_BYTES = 64 * 1024
VALUE_BYTES = 16  # of these each value counts for as many more
PORT_MAX = 2**16 - 1
MANAGER_BYTES_MAX = 128
DEFAULT_MANAGER = "unknown"

Params = Mapping[str, Sequence[str]]


class Writing(Struct, kw_only=True):
    """Who writes, and how."""

    user: User
    manager: str = DEFAULT_MANAGER
    dry_run: bool = False
    validation: str = "Warn"
    """Of unknown and repeated fields: Strict, Warn or Ignore."""
    force: bool = False
    """Server-side apply takes fields over from other managers."""
    subresource: str = ""
    operation: str = "Update"
    """For managedFields: Update or Apply."""
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)
    """Annotations for the audit log."""
    options: Any = None
    posted: Any = None
    """What a POST to a part of the object said."""
    internal: bool = False
    """The API server's own."""
    is_long: bool = False
    """So much was sent, is there or is made of it that others would notice the work: it is done beside the loop."""


def is_large(body: bytes) -> bool:
    """Whether an object takes some milliseconds to read, to judge, and to note the owners of."""
    return len(body) > LARGE_BYTES or len(body) + VALUE_BYTES * body.count(b",") > LARGE_BYTES


def one(params: Params, name: str) -> str:
    values = params.get(name)
    return values[0] if values else ""


def flag(params: Params, name: str) -> bool:
    """As upstream reads a boolean: anything but false and 0 is yes, also an empty value."""
    values = params.get(name)
    return values is not None and values[0].lower() not in ("false", "0")


def whole_number(params: Params, name: str) -> int | None:
    text = one(params, name)
    if not text:
        return None
    number = integer(text)
    if number is None:
        why = "value out of range" if text.isascii() and text.lstrip("+-").isdecimal() else "invalid syntax"
        raise BadRequest(f"strconv.ParseInt: parsing {printed(text)}: {why}")
    return number


def unsigned(text: str, most: int) -> int:
    """A number as Go's strconv.ParseUint reads it. ValueError says what that says; its sender chose how long it is."""
    why = "invalid syntax"
    if text.isascii() and text.isdecimal():
        digits = text.lstrip("0") or "0"
        if len(digits) <= len(str(most)) and int(digits) <= most:
            return int(digits)
        why = "value out of range"
    raise ValueError(f"strconv.ParseUint: parsing {printed(text)}: {why}")


def port_numbers(params: Params) -> list[int]:
    """`ports` of PodPortForwardOptions: `80,443`, or one after the other."""
    try:
        return [unsigned(text, PORT_MAX) for texts in params.get("ports", ()) for text in texts.split(",")]
    except ValueError as error:
        raise BadRequest(f"cannot convert to []int32: {error}") from None


def writing_of(request: ApiRequest, kind: str) -> Writing:
    """`kind` names the options in errors: CreateOptions, UpdateOptions, PatchOptions."""
    params = request.params
    manager = one(params, "fieldManager")
    validation = one(params, "fieldValidation") or "Warn"
    dry_run = params.get("dryRun", ())
    wrong: list[FieldError] = []
    wrong += [not_supported("dryRun", value, ["All"]) for value in dry_run if value != "All"]
    if validation not in ("Ignore", "Strict", "Warn"):
        wrong.append(not_supported("fieldValidation", validation, ["Ignore", "Strict", "Warn"]))
    if len(manager.encode()) > MANAGER_BYTES_MAX:
        wrong.append(too_long("fieldManager", manager, MANAGER_BYTES_MAX))
    if not manager.isprintable():
        wrong.append(invalid_value("fieldManager", manager, "should only contain printable characters"))
    if wrong:
        raise invalid(About(kind=kind, group="meta.k8s.io"), wrong)
    return Writing(
        user=request.user,
        manager=manager or manager_of(request.http.headers.get("user-agent", "")),
        dry_run=bool(dry_run),
        validation=validation,
        force=flag(params, "force"),
        warnings=request.warnings,
        audit=request.audit,
    )


def manager_of(user_agent: str) -> str:
    """The program's name: what stands before the first slash of its User-Agent."""
    name = user_agent.partition("/")[0]
    return name.encode()[:MANAGER_BYTES_MAX].decode(errors="ignore") if name.isprintable() and name else DEFAULT_MANAGER
