"""Other programs run for a moment: their input, their output, and an end by when they must be done."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kybern.aio.timeouts import timeout
from kybern.linux.processes import die_with_parent


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    output: bytes
    errors: bytes


async def run(command: Sequence[str], given: bytes, variables: Mapping[str, str], seconds: float) -> Ended:
    """TimeoutError when it takes longer; it is then dead, and what it has started. So it is where nobody waits any more."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(variables),
        preexec_fn=die_with_parent,
        start_new_session=True,
    )
    try:
        async with timeout(seconds):
            output, errors = await process.communicate(given)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    return Ended(process.returncode or 0, output, errors)
