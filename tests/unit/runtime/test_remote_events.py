"""What a runtime of somebody else's tells, or what is found by listing."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from kybern.aio.clock import LoopClock
from kybern.runtime.remote.events import Events
from kybern.runtime.remote.peer import UNIMPLEMENTED, RpcError
from kybern.testing.virtual import run


async def nothing(method: str, request: bytes) -> AsyncIterator[bytes]:
    raise RpcError(UNIMPLEMENTED, "no events here")
    yield b""


def test_what_changed_before_the_runtime_began_to_tell_is_told_within_a_moment() -> None:
    states = {"container": 1}

    async def listed() -> dict[str, int]:
        return dict(states)

    async def scenario() -> None:
        gate: Any = SimpleNamespace(stream=nothing)
        told = Events(gate, LoopClock(), listed).follow()
        states["container"] = 2  # after whoever follows has listed, and before anybody watches
        async with asyncio.timeout(2):
            assert await anext(told) == "container"

    run(scenario())
