"""The one step of a write that cannot be taken back, told to those who have reserved something for it.

A client may go away while its write is on the way to the disk. The write happens all the same; its task is not over
before it is known whether it did.
"""

import asyncio

from kybern.api.errors import RequestEntityTooLarge
from kybern.apiserver.machine import Machine, reserved
from kybern.store.interface import StoreError

VALUE_BYTES_MAX = 8 * 1024 * 1024  # the largest body, with what the server adds; a few defaults could make gigabytes


async def put(machine: Machine, outcome: reserved, key: str, value: bytes, expected: int) -> int:
    if len(value) > VALUE_BYTES_MAX:
        raise RequestEntityTooLarge(f"Request entity too large: limit is {VALUE_BYTES_MAX}")
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
