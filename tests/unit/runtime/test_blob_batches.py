"""Blobs on their way, gathered into pieces that are worth a thread."""

from collections.abc import AsyncIterator

import pytest

from kybern.runtime.images.batches import BATCH_BYTES, batches

PIECE = b"x" * (BATCH_BYTES // 4)


async def pieces(count: int, fault: Exception | None = None) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE
    if fault is not None:
        raise fault


async def test_many_small_pieces_come_as_few_large_ones() -> None:
    assert [len(batch) async for batch in batches(pieces(10))] == [BATCH_BYTES, BATCH_BYTES, BATCH_BYTES // 2]
    assert [batch async for batch in batches(pieces(0))] == []


async def test_what_came_before_a_fault_comes_before_the_fault() -> None:
    got = []
    with pytest.raises(OSError, match="cut"):
        async for batch in batches(pieces(5, OSError("cut"))):
            got.append(len(batch))
    assert got == [BATCH_BYTES, BATCH_BYTES // 4]
