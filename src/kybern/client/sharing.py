"""Objects that are alike share their parts: of fifty thousand pods of one template only what differs is there so often.

Objects are frozen, so nobody notices but the memory.
"""

from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

T = TypeVar("T")

PARTED = (Struct, tuple)


def sharing(new: T, known: T) -> T:
    """`new`, made of what is equal in `known`."""
    made: T = _sharing(new, known)
    return made


def _sharing(new: Any, known: Any) -> Any:
    if type(new) is not type(known):
        return new
    if new == known:
        return known
    if isinstance(new, Struct):
        return _struct_sharing(new, known)
    if isinstance(new, tuple) and len(new) == len(known):
        return tuple([_sharing(item, other) for item, other in zip(new, known, strict=True)])
    return new


def _struct_sharing(new: Any, known: Any) -> Any:
    shared = {}
    for name in new.__struct_fields__:
        mine, theirs = getattr(new, name), getattr(known, name)
        if mine is theirs or type(mine) is not type(theirs):
            continue
        if mine == theirs:
            shared[name] = theirs
        elif isinstance(mine, PARTED):
            part = _sharing(mine, theirs)
            if part is not mine:
                shared[name] = part
    return replace(new, **shared) if shared else new
