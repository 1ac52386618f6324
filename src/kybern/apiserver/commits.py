"""The one step of a write that cannot be taken back, told to those who have reserved something for it.

A client may go away while its write is on the way to the disk. The write happens all the same; its task is not over
before it is known whether it did.
"""

import asyncio

from kybern.apiserver.machine import Machine, reserved
from kybern.store.interface import StoreError


async def put(machine: Machine, outcome: reserved, key: str, value: bytes, expected: int) -> int:
    try:
        revision = await machine.store.put(key, value, expected=expected)
    except asyncio.CancelledError:
        head = machine.store.head(key)
        if head is not None and head.value is value:
            outcome.written = await is_durable(machine)
        raise
    outcome.written = True
    return revision


async def delete(machine: Machine, outcome: reserved, key: str, expected: int) -> int:
    try:
        revision = await machine.store.delete(key, expected=expected)
    except asyncio.CancelledError:
        head = machine.store.head(key)
        if head is None or head.created > expected:
            outcome.written = await is_durable(machine)
        raise
    outcome.written = True
    return revision or expected


async def is_durable(machine: Machine) -> bool:
    """Whether what is on its way to the disk arrives; waits for that, even when told to stop."""
    while True:
        try:
            await machine.store.settle()
        except asyncio.CancelledError:
            continue
        except StoreError:
            return False
        return True
