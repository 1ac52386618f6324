"""How many questions a node's DNS server answers for each second that it computes: asked over UDP, a window at a time."""

import asyncio
import itertools
import socket
import struct
import time

from kybern.cli.bench.controllers import cpu_seconds

SECONDS = 5.0
WINDOW = 32
ANSWER_SECONDS_MAX = 5.0
NAMES = (
    b"kubernetes.default.svc.cluster.local",
    *(b"s-%d.kybern-bench-bound.svc.cluster.local" % n for n in range(100)),
)
HEADER = struct.Struct("!6H")
RECURSION, IN, A = 0x0100, 1, 1
PORT = 53


async def answers_per_core_second(address: str, pid: int) -> tuple[float, str]:
    """Of the process that answers; and what was wrong with an answer."""
    before = cpu_seconds(pid)
    answered, wrong = await asyncio.to_thread(asked, address)
    return answered / (cpu_seconds(pid) - before), wrong


def asked(address: str) -> tuple[int, str]:
    packets = itertools.cycle([question(number, name) for number, name in enumerate(NAMES)])
    answered, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_SECONDS_MAX)
        sock.connect((address, PORT))
        while time.monotonic() - began < SECONDS:
            for _ in range(WINDOW):
                sock.send(next(packets))
            for _ in range(WINDOW):
                found = sock.recv(4096)
                _, flags, _, answers, _, _ = HEADER.unpack_from(found)
                if flags & 0xF or answers != 1:
                    return answered, f"an answer with code {flags & 0xF} and {answers} records"
                answered += 1
    return answered, ""


def question(number: int, name: bytes) -> bytes:
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return HEADER.pack(number, RECURSION, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", A, IN)
