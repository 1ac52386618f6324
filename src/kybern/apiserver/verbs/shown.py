"""An object in the form that its reader asked for: itself, its metadata, or a row of a table; alone or in an event."""

from dataclasses import dataclass
from functools import cache

from kybern.aio.clock import Clock
from kybern.apiserver.binary import PROTOBUF, binary_frame
from kybern.apiserver.formats import Format
from kybern.apiserver.frames import Form, frame
from kybern.apiserver.options import one
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.tables import Printer, partial
from kybern.registry.resource import Resource

READ_BY_PEOPLE = ("curl", "Wget", "Mozilla/5.0")


def shown(resource: Resource, served: bytes, format_: Format, clock: Clock, include: str = "Metadata") -> bytes:
    if not format_.transform:
        return served
    if format_.transform == "Table":
        return Printer(resource, format_.version, clock.wall(), include).alone(served)
    return partial(served, format_.version)


def framing(format_: Format) -> Form:
    """Frames around objects as they are."""
    return binary_frame if format_.media == PROTOBUF else frame


def form_for(storage: Storage, format_: Format, clock: Clock, include: str) -> Form:
    """The same, for the events of a watch. Equal wishes get the same function, so that they share their frames."""
    if not format_.transform:
        return framing(format_)
    if format_.transform != "Table":
        return metadata_form(framing(format_), format_.version)
    return Rows(storage.resource, format_, clock, include)


@dataclass(eq=False, slots=True)
class Rows:
    """The events of one watch as tables, of which the first says what the columns are."""

    resource: Resource
    format_: Format
    clock: Clock
    include: str
    told: bool = False

    def __call__(self, type_: str, served: bytes) -> bytes:
        columns, self.told = not self.told, True
        printer = Printer(self.resource, self.format_.version, self.clock.wall(), self.include)
        return framing(self.format_)(type_, printer.alone(served, columns=columns))


@cache
def metadata_form(framed: Form, version: str) -> Form:
    return lambda type_, served: framed(type_, partial(served, version))


def pretty(request: ApiRequest) -> bool:
    """With line ends: as the query says, else for a client behind which a person sits."""
    if "pretty" in request.params:
        return one(request.params, "pretty").lower() in ("true", "1")
    return request.http.headers.get("user-agent", "").startswith(READ_BY_PEOPLE)
