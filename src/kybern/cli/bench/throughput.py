"""What pods lose of the speed that a bare veth pair has: to each other on one node, and through a Service. One program sends and
one receives, in all three cases the same; round by round, so that what else the machine does hits all three alike.
"""

import asyncio
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from kybern.cli.bench.figures import LOST_BETWEEN_PODS, LOST_THROUGH_SERVICE, Figure
from kybern.cli.bench.node import PATH as PODS
from kybern.cli.bench.node import pod, until_phases
from kybern.cli.bench.scheduling import NAMESPACE
from kybern.cli.bench.seed import send
from kybern.linux import netns
from kybern.linux.netlink import Netlink
from kybern.web.client import Client
from kybern.web.http import Request
from kybern.web.remote_client import remote_command

ROUNDS, ROUND_SECONDS = 9, 1.0
STILL_SECONDS = 2.0
SERVICE_PATH = f"/api/v1/namespaces/{NAMESPACE}/services"
VETH = ("198.19.255.1", "198.19.255.2")
PORT = 5001

RECEIVER = f"""
import socket
server = socket.create_server(("", {PORT}))
while True:
    peer, _ = server.accept()
    room = bytearray(1 << 20)
    while peer.recv_into(room):
        pass
    peer.close()
"""

SENDER = f"""
import socket, sys, time
peer = socket.create_connection((sys.argv[1], {PORT}), 10)
block, sent, began = bytes(1 << 20), 0, time.monotonic()
while time.monotonic() - began < {ROUND_SECONDS}:
    sent += peer.send(block)
print(sent / (time.monotonic() - began))
"""


async def throughput(client: Client) -> AsyncIterator[Figure]:
    """The median of the rounds' losses."""
    names = ("receiver", "sender")
    await send(client, "POST", PODS, {**pod("receiver", "python3", "-c", RECEIVER), **labelled("receiver")})
    await send(client, "POST", PODS, pod("sender"))
    await until_phases(client, dict.fromkeys(names, "Running"))
    target = (await send(client, "GET", f"{PODS}/receiver"))["status"]["podIP"]
    made = await send(client, "POST", SERVICE_PATH, service("receiver", PORT, selecting="receiver"))
    through = made["spec"]["clusterIP"]
    of_pods, of_service = [], []
    with veth_pair() as (one, other):
        receiver = await started(other, RECEIVER)
        try:
            await asyncio.sleep(STILL_SECONDS)
            for _ in range(ROUNDS):
                bare = await sent_between(one)
                of_pods.append(1 - await sent_by_pod(client, target) / bare)
                of_service.append(1 - await sent_by_pod(client, through) / bare)
        finally:
            receiver.kill()
            await receiver.wait()
    yield Figure(LOST_BETWEEN_PODS, percent(of_pods))
    yield Figure(LOST_THROUGH_SERVICE, percent(of_service))


def percent(losses: list[float]) -> float:
    return max(0.1, 100 * median(losses))


@contextmanager
def veth_pair() -> Iterator[tuple[str, str]]:
    """Two namespaces and nothing between them but the pair."""
    directory = Path(tempfile.mkdtemp(prefix="kybern-bench-veth-"))
    one, other = str(directory / "one"), str(directory / "other")
    try:
        for path in (one, other):
            netns.create(path)
        with Netlink(one) as here, Netlink(other) as there:
            here.add_veth("veth", "veth", other)
            for end, address in zip((here, there), VETH, strict=True):
                end.ensure_address(end.index("veth"), f"{address}/30")
                end.set_up(end.index("veth"))
        yield one, other
    finally:
        for path in (one, other):
            netns.remove(path)
        shutil.rmtree(directory, ignore_errors=True)


async def started(namespace: str, code: str, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "nsenter", f"--net={namespace}", "python3", "-c", code, *words, stdin=DEVNULL, stdout=PIPE
    )


async def sent_between(namespace: str) -> float:
    output, _ = await (await started(namespace, SENDER, VETH[1])).communicate()
    return float(output)


async def sent_by_pod(client: Client, address: str) -> float:
    words = "&".join(f"command={quote(word, safe='')}" for word in ("python3", "-c", SENDER, address))
    async with remote_command(client, Request("GET", f"{PODS}/sender/exec", f"{words}&stdout=true")) as remote:
        pieces = []
        while piece := await remote.stdout.receive():
            pieces.append(piece)
    return float(b"".join(pieces))


def service(name: str, port: int = 80, *, selecting: str = "") -> dict[str, Any]:
    selector = {"selector": {"app": selecting}} if selecting else {}
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": port, "targetPort": port}], **selector}}


def labelled(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"app": name}}}
