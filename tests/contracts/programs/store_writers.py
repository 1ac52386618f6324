"""Eight writers that report every acknowledged write on standard output, until they are killed.

Usage: store_writers.py FILE RUN. First line: `open REVISION`; then `WRITER STEP REVISION` for each acknowledgement.
"""

import asyncio
import os
import sys
from pathlib import Path

from kybern.store.sqlite import SqliteStore

WRITERS = 8
STEPS_PER_KEY = 4


async def write(store: SqliteStore, run: str, writer: int) -> None:
    """Four steps a key, in a cycle: create, replace, replace whatever is there, delete every second key."""
    step = 0
    while True:
        key, phase = f"/k/{run}/{writer}/{step // STEPS_PER_KEY}", step % STEPS_PER_KEY
        value = f"{step}:".encode() + b"x" * (step * 37 % 900)
        if phase == 0:
            revision = await store.put(key, value, expected=0)
        elif phase == 1:
            revision = await store.put(key, value, expected=revision)
        elif phase == 2 or step // STEPS_PER_KEY % 2:
            revision = await store.put(key, value)
        else:
            revision = await store.delete(key, expected=revision) or 0
        os.write(1, f"{writer} {step} {revision}\n".encode())
        step += 1


async def compact(store: SqliteStore) -> None:
    while True:
        await asyncio.sleep(0.03)
        await store.compact(store.revision - 20)


async def main(path: Path, run: str) -> None:
    store = await SqliteStore.open(path)
    os.write(1, f"open {store.revision}\n".encode())
    await asyncio.gather(compact(store), *(write(store, run, writer) for writer in range(WRITERS)))


asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
