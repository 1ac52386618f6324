"""Other programs run for a moment: their input, their output, and an end by when they must be done."""

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kybern.linux.processes import die_with_parent


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    output: bytes
    errors: bytes


async def run(command: Sequence[str], given: bytes, variables: Mapping[str, str], seconds: float) -> Ended:
    """TimeoutError when it takes longer; it is then dead."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(variables),
        preexec_fn=die_with_parent,
    )
    try:
        async with asyncio.timeout(seconds):
            output, errors = await process.communicate(given)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return Ended(process.returncode or 0, output, errors)
