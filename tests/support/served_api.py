"""A whole API server on loopback, without nodes or controllers, for real clients: kubectl, operators, libraries.

    async with served_api(folder) as served:
        await served.run("kubectl", "get", "ns")

Who shows no credentials may do everything, so nothing but loopback may be listened on.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.store.memory import MemoryStore
from kybern.testing.cluster import api_server
from kybern.web.server import serve

COMMAND_SECONDS = 60.0


@dataclass
class Served:
    url: str
    home: Path
    programs: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    async def run(self, *command: str | Path, stdin: str = "", check: bool = True) -> str:
        """What it printed, on either stream."""
        program = await asyncio.create_subprocess_exec(
            *command,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                out, _ = await program.communicate(stdin.encode())
        finally:
            if program.returncode is None:
                program.kill()
        said = out.decode()
        assert not check or program.returncode == 0, f"{' '.join(map(str, command))}\n{said}"
        return said

    async def start(self, *command: str | Path) -> "Program":
        """A program that goes on until the end."""
        log = self.home / f"program-{len(self.programs)}.log"
        with log.open("wb") as out:
            program = await asyncio.create_subprocess_exec(*command, env=self.environment, stdout=out, stderr=out)
        self.programs.append(program)
        return Program(log, program)


@dataclass(frozen=True)
class Program:
    log: Path
    process: asyncio.subprocess.Process

    async def ends(self) -> int:
        """Its exit code, after it was asked to end."""
        self.process.terminate()
        return await self.process.wait()

    @property
    def said(self) -> str:
        return self.log.read_text()

    async def says(self, text: str, seconds: float = COMMAND_SECONDS) -> None:
        await until(lambda: text in self.said, seconds, lambda: f"{text!r} was not said:\n{self.said}")


async def until(holds: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, why()
        await asyncio.sleep(0.05)


@asynccontextmanager
async def served_api(home: Path) -> AsyncIterator[Served]:
    store = MemoryStore()
    server, *serving = await api_server(store, SystemClock(), Ids())
    listener = await serve(server)
    url = f"http://127.0.0.1:{listener.port}"
    served = Served(url, home)
    context = {"cluster": "c", "user": "u", "namespace": "default"}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": context}],
    }  # fmt: skip
    served.kubeconfig.write_text(json.dumps(config))
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part.run()) for part in serving]
        try:
            yield served
        finally:
            for program in served.programs:
                if program.returncode is None:
                    program.kill()
                await program.wait()
            for task in running:
                task.cancel()
            await listener.close(grace_seconds=0)
            await store.close()
