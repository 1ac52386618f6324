"""exec, attach and port-forward: the runtime's streams, joined to those of a client."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from kybern.api.codec import encode
from kybern.api.meta_v1 import Status, StatusCause, StatusDetails
from kybern.runtime.cri import ExecIO, Runtime, RuntimeFault
from kybern.web.channel import Channel
from kybern.web.http import Request, Response
from kybern.web.remote_command import RemoteCommand, Streams, accept_remote_command

SUCCESS = encode(Status(status="Success"))


def serve_remote(request: Request, wanted: Streams, start: Callable[[], Awaitable[ExecIO]], named: str) -> Response:
    """The upgrade that joins a client to what `start` gives; a fault of it is how the command ended."""

    async def serve(command: RemoteCommand) -> None:
        try:
            await serve_process(command, await start(), wanted.tty, named)
        except RuntimeFault as fault:
            await command.exit(*failed(fault.message))

    return accept_remote_command(request, wanted, serve)


async def serve_process(command: RemoteCommand, io: ExecIO, tty: bool, named: str) -> None:
    """Until the process has ended and everything it wrote has been sent. RuntimeFault where nobody knows how it ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            feeding = [tasks.create_task(_feed(command.stdin, io)), tasks.create_task(_resize(command, io))]
            outputs = [tasks.create_task(_forward(io.read_stdout, command.stdout))]
            if not tty:
                outputs.append(tasks.create_task(_forward(io.read_stderr, command.stderr)))
            await asyncio.wait(outputs)
            ended = (await asyncio.gather(io.wait(), return_exceptions=True))[0]
            for task in feeding:
                task.cancel()
        if isinstance(ended, BaseException):
            raise ended
        await command.exit(*ending(ended, named))
    finally:
        await io.close()


def ending(code: int, named: str) -> tuple[bytes, str]:
    """The status that says how the process ended, and its text for old clients."""
    if code == 0:
        return SUCCESS, ""
    text = f"command terminated with non-zero exit code: error executing command [{named}], exit code {code}"
    cause = StatusCause(reason="ExitCode", message=str(code))
    status = Status(status="Failure", message=text, reason="NonZeroExitCode", details=StatusDetails(causes=(cause,)))
    return encode(status), text


def failed(message: str) -> tuple[bytes, str]:
    status = Status(status="Failure", message=message, reason="InternalError", code=500)
    return encode(status), message


async def _feed(stdin: Channel | None, io: ExecIO) -> None:
    if stdin is None:
        return
    while data := await stdin.receive():
        try:
            await io.write_stdin(data)
        except (ConnectionError, RuntimeFault):
            stdin.ignore()  # the process reads no more
            return
    await io.close_stdin()


async def _resize(command: RemoteCommand, io: ExecIO) -> None:
    async for width, height in command.sizes():
        await io.resize(width, height)


async def _forward(read: Callable[[], Awaitable[bytes]], channel: Channel | None) -> None:
    """What nobody asked for is read all the same, so that the process does not block."""
    while data := await read():
        if channel is not None:
            await channel.send(data)


async def connect_to(runtime: Runtime, sandbox_id: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """OSError, with the text that the client sees, when nothing listens."""
    try:
        streams = await runtime.port_forward(sandbox_id, port)
    except RuntimeFault as fault:
        raise OSError(fault.message) from fault
    return cast("tuple[asyncio.StreamReader, asyncio.StreamWriter]", streams)
