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
    if type(new) is not type(known):
        return new
    made: T = known if new == known else _remade(new, known)
    return made


def _remade(new: Any, known: Any) -> Any:
    """The same for two of one type that are known to differ: nothing is compared twice."""
    if isinstance(new, Struct):
        return _remade_struct(new, known)
    if isinstance(new, tuple) and len(new) == len(known):
        return tuple([sharing(item, other) for item, other in zip(new, known, strict=True)])
    return new


def _remade_struct(new: Struct, known: Struct) -> Struct:
    shared = {}
    for name in new.__struct_fields__:
        mine, theirs = getattr(new, name), getattr(known, name)
        if mine is theirs or type(mine) is not type(theirs):
            continue
        if mine == theirs:
            shared[name] = theirs
        elif isinstance(mine, PARTED):
            part = _remade(mine, theirs)
            if part is not mine:
                shared[name] = part
    return replace(new, **shared) if shared else new
