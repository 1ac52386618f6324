"""A cluster of our own to measure: in a directory of its own, gone afterwards."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kybern.web.client import Client
from kybern.web.client_errors import ClientError
from kybern.web.http import Request
from kybern.web.pki import Pair, read_pair
from kybern.web.tls import client_context

KYBERN = (sys.executable, "-c", "from kybern.cmd.main import run_and_exit; run_and_exit()")
START_SECONDS = 30.0
LOOK_SECONDS = 0.01


class StartFailed(Exception):
    """The cluster to be measured does not start."""


@dataclass(frozen=True, slots=True)
class OwnCluster:
    client: Client
    url: str
    start_seconds: float
    data: Path
    pids: dict[str, int]
    """Of its processes, by name."""

    @property
    def server_pid(self) -> int:
        return self.pids["server"]

    @property
    def control_plane_megabytes(self) -> float:
        return sum(memory_megabytes(self.pids[name]) for name in ("server", "control"))


@asynccontextmanager
async def own_cluster(*more: str, simulated: bool = True) -> AsyncIterator[OwnCluster]:
    """Started once and stopped, then started again with the clock running: making certificates is not measured.

    `more` are arguments of the second start. Where it is not simulated it has one real node."""
    directory = Path(tempfile.mkdtemp(prefix="kybern-bench-"))
    data, port = directory / "data", str(free_port())
    kind = ["--simulated"] if simulated else []
    words = (*KYBERN, "up", "--foreground", *kind, "--port", port, "--data-dir", str(data))
    try:
        async with started(words, data), client_of(data, port) as client:
            await wait_ready(client)
        began = time.monotonic()
        async with started((*words, *more), data), client_of(data, port) as client:
            await wait_ready(client)
            yield OwnCluster(client, f"https://127.0.0.1:{port}", time.monotonic() - began, data, await pids(data))
    finally:
        await output_of(data, "reset")
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def started(words: tuple[str, ...], data: Path) -> AsyncIterator[None]:
    """A cluster in the foreground of a process of its own, which ends it when told to end."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=DEVNULL, stderr=DEVNULL, stdin=DEVNULL, env=environment(data)
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await process.wait()


async def credentials(data: Path) -> tuple[Pair, Pair]:
    for _ in range(int(START_SECONDS / LOOK_SECONDS)):
        pair, ca = read_pair(data / "pki", "admin"), read_pair(data / "pki", "ca")
        if pair is not None and ca is not None:
            return pair, ca
        await asyncio.sleep(LOOK_SECONDS)
    raise StartFailed("the cluster did not make its certificates")


@asynccontextmanager
async def client_of(data: Path, port: str) -> AsyncIterator[Client]:
    """As the administrator whose certificate the cluster makes when it first starts."""
    pair, ca = await credentials(data)
    context = client_context(ca=ca.certificate, certificate=pair.certificate, key=pair.key)
    async with Client(f"https://127.0.0.1:{port}", ssl=context) as client:
        yield client


async def pids(data: Path) -> dict[str, int]:
    answer = await output_of(data, "status", "-o", "json")
    try:
        return {process["name"]: int(process["pid"]) for process in json.loads(answer)["programs"]}
    except (ValueError, KeyError) as error:
        raise StartFailed("the cluster ended as soon as it had started") from error


async def wait_ready(client: Client) -> None:
    for _ in range(int(START_SECONDS / LOOK_SECONDS)):
        with suppress(ClientError):
            if (await client.send(Request("GET", "/readyz"))).status == 200:
                return
        await asyncio.sleep(LOOK_SECONDS)
    raise StartFailed(f"the cluster was not ready within {START_SECONDS:g} s")


async def output_of(data: Path, *words: str) -> bytes:
    """Of a command about the cluster in `data`."""
    process = await asyncio.create_subprocess_exec(
        *KYBERN, *words, "--data-dir", str(data), stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL, env=environment(data)
    )
    output, _ = await process.communicate()
    return output


def environment(data: Path) -> dict[str, str]:
    """With a kubeconfig of its own: the user's is none of our business."""
    return {**os.environ, "KUBECONFIG": str(data.parent / "kubeconfig")}


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
