"""A control plane of our own to measure: in a directory of its own, without nodes, gone afterwards."""

import asyncio
import json
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kybern.web.client import Client
from kybern.web.client_errors import ClientError
from kybern.web.http import Request
from kybern.web.pki import read_pair
from kybern.web.tls import client_context

KYBERN = (sys.executable, "-c", "from kybern.cmd.main import run_and_exit; run_and_exit()")
START_SECONDS = 30.0
LOOK_SECONDS = 0.01


class StartFailed(Exception):
    pass


@dataclass(frozen=True, slots=True)
class OwnCluster:
    client: Client
    url: str
    start_seconds: float
    server_pid: int


@asynccontextmanager
async def own_cluster() -> AsyncIterator[OwnCluster]:
    """Prepared once and stopped, then started again with the clock running: certificates are not what is measured."""
    directory = Path(tempfile.mkdtemp(prefix="kybern-bench-"))
    options = ("--data-dir", str(directory / "data"))
    start = (*KYBERN, "up", "--simulated", "--port", str(free_port()), *options)
    try:
        await command(*start)
        await command(*KYBERN, "down", *options)
        pair, ca = read_pair(directory / "data" / "pki", "admin"), read_pair(directory / "data" / "pki", "ca")
        if pair is None or ca is None:
            raise StartFailed("the cluster has no certificates")
        context = client_context(ca=ca.certificate, certificate=pair.certificate, key=pair.key)
        url = f"https://127.0.0.1:{start[start.index('--port') + 1]}"
        async with Client(url, ssl=context) as client:
            began = time.monotonic()
            starting = await asyncio.create_subprocess_exec(*start, stderr=asyncio.subprocess.DEVNULL)
            await wait_ready(client)
            seconds = time.monotonic() - began
            await starting.wait()
            status = json.loads(await command(*KYBERN, "status", "-o", "json", *options))
            pid = next(process["pid"] for process in status["processes"] if process["name"] == "server")
            yield OwnCluster(client, url, seconds, pid)
    finally:
        with suppress(StartFailed):
            await command(*KYBERN, "reset", "--yes", *options)
        shutil.rmtree(directory, ignore_errors=True)


async def wait_ready(client: Client) -> None:
    async with asyncio.timeout(START_SECONDS):
        while True:
            with suppress(ClientError):
                if (await client.send(Request("GET", "/readyz"))).status == 200:
                    return
            await asyncio.sleep(LOOK_SECONDS)


async def command(*words: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise StartFailed(f"{' '.join(words[3:])}: {errors.decode('utf-8', 'replace').strip()[-500:]}")
    return output


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def memory_megabytes(pid: int) -> float:
    """What the process has for itself, and its share of what it has in common with others (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory")
