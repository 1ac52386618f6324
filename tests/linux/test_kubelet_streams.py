"""exec, logs and port-forward of real containers, through the kubelet's server over TLS."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from kybern.aio.clock import SystemClock
from kybern.api.core_v1 import Pod
from kybern.client import Client
from kybern.kubelet.server import KubeletServer
from kybern.web.client import Client as WebClient
from kybern.web.http import Request
from kybern.web.pki import create_ca, issue
from kybern.web.remote_client import remote_command
from kybern.web.server import serve
from kybern.web.tls import client_context, server_context

pytestmark = pytest.mark.linux

TTY_SCRIPT = "read line; while [ \"$(stty size)\" != '45 123' ]; do :; done; stty size; test -t 0 && echo terminal"
NAME = "kube-apiserver-kubelet-client"


@asynccontextmanager
async def served(kubelet: Any) -> AsyncIterator[WebClient]:
    now = SystemClock().wall()
    ca = create_ca("ca", now)
    server, client = issue(ca, "n1", now=now, ips=("127.0.0.1",)), issue(ca, NAME, now=now)
    tls = server_context(server.certificate, server.key, client_ca=ca.certificate)
    listener = await serve(KubeletServer(kubelet), ssl=tls)
    ours = client_context(ca=ca.certificate, certificate=client.certificate, key=client.key)
    try:
        async with WebClient(f"https://127.0.0.1:{listener.port}", ssl=ours) as web:
            yield web
    finally:
        await listener.close()


async def execute(web: WebClient, script: str, stdin: bytes = b"", tty: bool = False) -> tuple[bytes, bytes, Any]:
    params = [("command", "sh"), ("command", "-c"), ("command", script), ("input", "1"), ("output", "1")]
    params += [("tty", "1")] if tty else [("error", "1")]
    request = Request("GET", "/exec/default/talks/main", urlencode(params))
    async with asyncio.timeout(10), remote_command(web, request) as remote:
        if tty:
            await remote.resize(123, 45)
        await remote.stdin.send(stdin)
        if not tty:
            await remote.stdin.close()
        out, err = await asyncio.gather(everything(remote.stdout), everything(remote.stderr))
        return out, err, json.loads(await remote.status())


async def everything(channel: Any) -> bytes:
    pieces = []
    while piece := await channel.receive():
        pieces.append(piece)
    return b"".join(pieces)


async def test_a_container_can_be_talked_to(node_lab: Any, tmp_path: Path) -> None:
    async def scenario(client: Client, root: Path) -> None:
        async with node_lab.node(root, client) as here, served(here.kubelet) as web:
            script = "echo first; echo second >&2; trap 'echo bye; exit 0' TERM; while true; do sleep 0.05; done"
            await client.create(node_lab.pod("talks", script, {}))
            await here.until("talks", is_running)
            await streams(web)
            await logs(web)
            await node_lab.remove_all(here)

    await node_lab.in_a_cluster(scenario, tmp_path)


def is_running(found: Pod) -> bool:
    return found.status.phase == "Running"


async def streams(web: WebClient) -> None:
    out, err, status = await execute(web, "cat; echo oops >&2; exit 7", b"hello")
    assert (out, err) == (b"hello", b"oops\n")
    assert status["reason"] == "NonZeroExitCode" and status["details"]["causes"][0]["message"] == "7"
    out, err, status = await execute(web, "head -c 3000000 /dev/zero | tr '\\0' x")
    assert len(out) == 3_000_000 and status["status"] == "Success"
    out, _, status = await execute(web, TTY_SCRIPT, b"go\n", tty=True)
    assert b"45 123" in out and b"terminal" in out and status["status"] == "Success"


async def logs(web: WebClient) -> None:
    async with asyncio.timeout(10):
        text = b""
        while text != b"first\nsecond\n":
            answer = await web.send(Request("GET", "/containerLogs/default/talks/main"))
            text = await answer.read()
    answer = await web.send(Request("GET", "/containerLogs/default/talks/main", "tailLines=1"))
    assert await answer.read() == b"second\n"
