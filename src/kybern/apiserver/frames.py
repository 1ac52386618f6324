"""Watch events as they travel: one JSON object a line."""

from collections.abc import Callable

from msgspec import Struct

from kybern.apiserver.item import Item

Form = Callable[[bytes], bytes]
"""Served bytes to what this client wants to see of them: itself, its metadata, a table."""


def as_served(served: bytes) -> bytes:
    return served


def frame(type_: str, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), obj)


def bookmark(api_version: str, kind: str, revision: int, *, initial_events_end: bool = False) -> bytes:
    """Says that everything up to a revision has been sent."""
    marks = ',"annotations":{"k8s.io/initial-events-end":"true"}' if initial_events_end else ""
    return frame(
        "BOOKMARK",
        f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}"{marks}}}}}'.encode(),
    )


class Event(Struct, gc=False):
    """One change of one object, as the cache keeps it for watches that start in the past."""

    revision: int
    old: Item | None
    new: Item | None
