"""Watch events as they travel: one JSON object a line. (`binary` has the other form.)"""

from collections.abc import Callable

from msgspec import Struct

from kybern.apiserver.item import Item

INITIAL_EVENTS_END = "k8s.io/initial-events-end"

Form = Callable[[str, bytes], bytes]
"""An event's type and the served bytes of its object to the frame that this client wants."""


def frame(type_: str, obj: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), obj)


def bookmark(api_version: str, kind: str, revision: int, *, initial_events_end: bool = False) -> bytes:
    """The object of an event that says that everything up to a revision has been sent."""
    marks = f',"annotations":{{"{INITIAL_EVENTS_END}":"true"}}' if initial_events_end else ""
    return (
        f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}"{marks}}}}}'
    ).encode()


class Event(Struct, gc=False):
    """One change of one object, as the cache keeps it for watches that start in the past."""

    revision: int
    old: Item | None
    new: Item | None
