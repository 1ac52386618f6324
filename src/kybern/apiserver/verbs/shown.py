"""An object in the form that its reader asked for: itself, its metadata, or a row of a table."""

from collections.abc import Callable

from kybern.aio.clock import Clock
from kybern.apiserver.formats import Format
from kybern.apiserver.item import metadata_of
from kybern.apiserver.storage import Storage
from kybern.apiserver.tables import table_of


def shown(storage: Storage, served: bytes, format_: Format, clock: Clock, include: str = "Metadata") -> bytes:
    if not format_.transform:
        return served
    if format_.transform == "Table":
        return table_of(storage.resource, [served], format_.version, clock.wall(), include)
    return partial(served, format_.version)


def partial(served: bytes, version: str) -> bytes:
    """meta/v1 PartialObjectMetadata."""
    head = f'{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":'.encode()
    return head + metadata_of(served) + b"}"


def form_for(storage: Storage, format_: Format, clock: Clock, include: str) -> Callable[[bytes], bytes] | None:
    """The same, for the events of a watch; None where they go out as they are."""
    if not format_.transform:
        return None
    return lambda served: shown(storage, served, format_, clock, include)
