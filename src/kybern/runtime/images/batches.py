"""A blob on its way in pieces that are worth a thread: what hashes and writes them waits for the disk, the event loop not."""

from collections.abc import AsyncIterator

BATCH_BYTES = 1 << 20


async def batches(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """What came before a fault comes before the fault: it need not come again."""
    held: list[bytes] = []
    size = 0
    try:
        async for piece in pieces:
            held.append(piece)
            size += len(piece)
            if size >= BATCH_BYTES:
                yield b"".join(held)
                held, size = [], 0
    except Exception:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)
