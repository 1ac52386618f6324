"""Work on many objects on a loop that others wait for: they get their turn every few milliseconds.

Whatever is done with an object takes the longer the larger it is, so turns are measured in bytes.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kybern.apiserver.item import Item

T = TypeVar("T")

COPIED_BYTES = 512 * 1024
"""In one turn, of objects that are copied or looked into."""
FEW = 1_000
"""Objects that are measured all at once."""
DECODED_BYTES = 64 * 1024
"""In one turn, of objects that are decoded as a whole."""


def turns(items: Sequence[Item], turn_bytes: int = COPIED_BYTES) -> Iterator[Sequence[Item]]:
    """The same, in parts that take one turn each."""
    if 0 < len(items) <= FEW and sum([len(item.value) for item in items]) <= turn_bytes:
        yield items
        return
    first = size = 0
    for at, item in enumerate(items):
        if size >= turn_bytes:
            yield items[first:at]
            first, size = at, 0
        size += len(item.value)
    if items:
        yield items[first:]


async def in_turns(work: Callable[[Item], T], items: Sequence[Item], turn_bytes: int = COPIED_BYTES) -> list[T]:
    """What the work makes of each."""
    done: list[T] = []
    for some in turns(items, turn_bytes):
        if done:
            await asyncio.sleep(0)
        done += map(work, some)
    return done
