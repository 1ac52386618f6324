"""exec and attach: the warden starts the process and hands its streams over; here they are read and its end awaited."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

from kybern.aio.timeouts import timeout
from kybern.runtime import spec as oci
from kybern.runtime.containers import ContainerRecord
from kybern.runtime.cri import ExecResult, RuntimeFault
from kybern.runtime.process_io import ProcessIO
from kybern.runtime.warden_client import WardenClient, WardenError

OUTPUT_BYTES_MAX = 16 << 20  # of exec_sync and stream; upstream's limit


class Executions:
    def __init__(self, warden: WardenClient) -> None:
        self.warden = warden
        self.exits: dict[int, asyncio.Future[int]] = {}
        self.let_go: set[int] = set()
        """Whose end nobody waits for any more."""
        self.attached: dict[str, list[asyncio.Future[int]]] = {}

    def ended(self, number: int, code: int) -> None:
        if number in self.let_go:
            self.let_go.discard(number)
            return
        future = self._exit(number)
        if not future.done():
            future.set_result(code)

    def container_ended(self, container_id: str, code: int) -> None:
        for future in self.attached.pop(container_id, []):
            if not future.done():
                future.set_result(code)

    def warden_lost(self) -> None:
        """How these processes end is nobody's knowledge any more."""
        for future in (*self.exits.values(), *(each for waiting in self.attached.values() for each in waiting)):
            if not future.done():
                future.set_exception(RuntimeFault("ExecError", "the runtime was restarted"))
                future.exception()  # who waits is told; where nobody waits there is nothing to report
        self.attached.clear()
        self.let_go.clear()

    def _exit(self, number: int) -> asyncio.Future[int]:
        return self.exits.setdefault(number, asyncio.get_running_loop().create_future())

    async def start(self, record: ContainerRecord, command: Sequence[str], *, stdin: bool, tty: bool) -> ProcessIO:
        if not command:
            raise RuntimeFault("ExecError", "exec command is empty")
        spec = oci.exec_spec(record.spec, command, tty=tty)
        try:
            answer, descriptors = await self.warden.call("exec", container=record.id, spec=spec, stdin=stdin)
        except WardenError as error:
            raise RuntimeFault("ExecError", f"failed to exec in container: {error}") from None
        except ConnectionError as error:
            raise RuntimeFault("ExecError", f"the runtime is not available: {error}") from None
        number = answer["exec"]

        async def let_go() -> None:
            future = self.exits.pop(number, None)
            if future is None or not future.done() or future.cancelled():
                self.let_go.add(number)
                await self._quietly("kill_exec", exec=number)

        streams = dict(zip(answer["streams"], descriptors, strict=True))
        return ProcessIO(streams, ended=self._exit(number), on_close=let_go)

    async def attach(self, record: ContainerRecord, *, stdin: bool) -> ProcessIO:
        try:
            answer, descriptors = await self.warden.call("attach", container=record.id)
        except (WardenError, ConnectionError) as error:
            raise RuntimeFault("ExecError", str(error)) from None
        streams = dict(zip(answer["streams"], descriptors, strict=True))
        if not stdin and "stdin" in streams:
            os.close(streams.pop("stdin"))
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.attached.setdefault(record.id, []).append(future)

        async def let_go() -> None:
            futures = self.attached.get(record.id, [])
            if future in futures:
                futures.remove(future)

        async def stdin_ended() -> None:
            if record.config.stdin_once:
                await self._quietly("close_stdin", container=record.id)

        async def resize(width: int, height: int) -> None:
            await self._quietly("resize", container=record.id, width=width, height=height)

        return ProcessIO(streams, ended=future, on_close=let_go, on_resize=resize, on_stdin_end=stdin_ended)

    async def _quietly(self, op: str, **fields: object) -> None:
        try:
            await self.warden.call(op, **fields)
        except (WardenError, ConnectionError):
            pass  # the container or the warden is gone, and with it what was to be changed

    async def run(self, record: ContainerRecord, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        streams = await self.start(record, command, stdin=False, tty=False)
        try:
            async with timeout(timeout_seconds or None):
                stdout, stderr, code = await asyncio.gather(
                    read_all(streams.read_stdout), read_all(streams.read_stderr), streams.wait()
                )
        finally:
            await streams.close()
        return ExecResult(stdout=stdout, stderr=stderr, exit_code=code)


async def read_all(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """To its end; what is over the limit is read and dropped, so that the process does not stop for it."""
    pieces: list[bytes] = []
    size = 0
    while data := await read():
        if size < OUTPUT_BYTES_MAX:
            pieces.append(data[: OUTPUT_BYTES_MAX - size])
            size += len(pieces[-1])
    return b"".join(pieces)
