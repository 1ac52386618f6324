"""A program of ours in a process of its own: a fresh interpreter that shares nothing with the agent but its input.

For what strangers' files are given to, and for what keeps a core busy. The module's `main(arguments)` reads standard input
and prints one JSON object.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from kybern.aio.timeouts import timeout

SOURCE = Path(__file__).parents[2]
PROGRAM = (
    "import sys, importlib; sys.path[:0] = sys.argv.pop(1).split(':'); "
    "importlib.import_module(sys.argv.pop(1)).main(sys.argv[1:])"
)
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class Broken(Exception):
    """The process ended without an answer."""


async def run_apart(
    module: str, arguments: Sequence[str], given: bytes | IO[bytes], seconds: float, *, zstd: bool = False
) -> dict[str, Any]:
    """What it printed. Broken, or TimeoutError after `seconds`; the process does not outlive this call."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-c", PROGRAM, ":".join(import_path(zstd=zstd)), module, *arguments),
        stdin=asyncio.subprocess.PIPE if isinstance(given, bytes) else given,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    try:
        async with timeout(seconds):
            output, _ = await process.communicate(given if isinstance(given, bytes) else None)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError:
        raise Broken(f"the process ended with {process.returncode}") from None
    return answer


def import_path(*, zstd: bool) -> list[str]:
    found = [str(SOURCE)]
    spec = find_spec("backports.zstd") if zstd and sys.version_info < (3, 14) else None
    if spec is not None and spec.origin is not None:
        found.append(str(Path(spec.origin).parents[2]))
    return found
