"""resourceVersion and its relatives in a query: which state of the world a reader wants.

    none            the newest
    0               any; here that is the newest too
    N               not older than N; with a limit and no match rule, exactly N
    Exact / NotOlderThan say so

A version that is yet to come is waited for, a little by lists, and by watches as long as they last.
"""

from dataclasses import dataclass
from typing import Protocol

from kybern.api.errors import About, BadRequest, Timeout, invalid
from kybern.api.invalid import forbidden_field, invalid_value, not_supported
from kybern.api.meta_v1 import StatusCause
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Params, one, unsigned

FUTURE_WAIT_SECONDS = 3.0  # upstream's patience with a version it has not seen
FUTURE_LOOK_SECONDS = 0.05
MATCHES = ("Exact", "NotOlderThan")
VERSION_MAX = 2**64 - 1
NOT_WITH_CONTINUE = "resourceVersionMatch is forbidden when continue is provided"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which state a list shows: `at` exactly that revision, or the newest when it is 0."""

    at: int = 0
    not_older_than: int = 0


NEWEST = Wanted()


def version_number(text: str) -> int:
    """One that is no number is its sender's mistake. Upstream says the same of it, as an error of its own (500) but where
    it lists exactly that version; it calls that a bug, and nobody can rely on it."""
    try:
        return unsigned(text, VERSION_MAX) if text else 0
    except ValueError as error:
        raise BadRequest(str(invalid_value("resourceVersion", text, str(error)))) from None


def wanted_version(params: Params, limit: int, continued: bool) -> Wanted:
    version, match = one(params, "resourceVersion"), one(params, "resourceVersionMatch")
    wrong = []
    if "sendInitialEvents" in params:
        wrong.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match:
        if not version:
            why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            wrong.append(forbidden_field("resourceVersionMatch", why))
        if continued:
            wrong.append(forbidden_field("resourceVersionMatch", NOT_WITH_CONTINUE))
        if match not in MATCHES:
            wrong.append(not_supported("resourceVersionMatch", match, (*MATCHES, "")))
        elif match == "Exact" and version == "0":
            why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            wrong.append(forbidden_field("resourceVersionMatch", why))
    if wrong:
        raise invalid(About(kind="ListOptions", group="meta.k8s.io"), wrong)
    if continued and version not in ("", "0"):
        raise BadRequest("specifying resource version is not allowed when using continue")
    number = version_number(version)
    exact = match == "Exact" or (not match and limit > 0)
    return Wanted(at=number) if number and exact else Wanted(not_older_than=number)


class Shown(Protocol):
    """What a reader is shown: the store, or the cache that stands before it."""

    @property
    def revision(self) -> int: ...


async def reached(machine: Machine, shown: Shown, number: int, seconds: float) -> bool:
    """Whether it comes to a revision in that time."""
    until = machine.clock.monotonic() + seconds
    while number > shown.revision:
        if machine.clock.monotonic() >= until:
            return False
        await machine.clock.sleep(FUTURE_LOOK_SECONDS)
    return True


async def check_not_future(machine: Machine, shown: Shown, number: int) -> None:
    """Returns once that revision is shown; a Timeout that tells clients to try again where it is not."""
    if await reached(machine, shown, number, FUTURE_WAIT_SECONDS):
        return
    message = f"Too large resource version: {number}, current: {shown.revision}"
    cause = StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    raise Timeout(message, causes=[cause], retry_after_seconds=1)
