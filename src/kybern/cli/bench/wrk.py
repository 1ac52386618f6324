"""wrk, the load generator: what it is told, and what its report says."""

import asyncio
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
COUNT = re.compile(r"(\d+) requests in")
REFUSED = re.compile(r"Non-2xx or 3xx responses: (\d+)")
SOCKETS = re.compile(r"Socket errors: (.*)")


class WrkMissing(Exception):
    """The message says how to get it."""


@dataclass(frozen=True, slots=True)
class Load:
    path: str
    method: str = "GET"
    body: str = ""
    """`@N@` becomes a number that counts up."""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Report:
    rate: float
    failed: str = ""


def script(load: Load) -> str:
    """A fresh body for each request; Lua makes it, so wrk must be told how."""
    if not load.body:
        return f'wrk.method = "{load.method}"\n'
    quoted = load.body.replace("\\", "\\\\").replace('"', '\\"')
    before, _, after = quoted.partition("@N@")
    path = load.path.replace("@M@", '" .. (n % 100) .. "')
    return (
        f'wrk.method = "{load.method}"\n'
        f'wrk.headers["Content-Type"] = "{load.content_type}"\n'
        "local n = 0\n"
        "request = function()\n"
        "  n = n + 1\n"
        f'  return wrk.format(nil, "{path}", nil, "{before}" .. n .. "{after}")\n'
        "end\n"
    )


async def measure(url: str, token: str, load: Load, seconds: float) -> Report:
    """Requests a second from one thread with 32 connections."""
    program = shutil.which("wrk")
    if program is None:
        raise WrkMissing("wrk is missing; install it with: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "load.lua"
        file.write_text(script(load))
        process = await asyncio.create_subprocess_exec(
            program, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(file),
            "-H", f"Authorization: Bearer {token}", "-H", "Accept: application/json", url + load.path.replace("@M@", "0"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
    return read_report(output.decode("utf-8", "replace"))


def read_report(text: str) -> Report:
    rate = RATE.search(text)
    if rate is None:
        return Report(0.0, f"wrk: {text.strip().splitlines()[-1] if text.strip() else 'no output'}")
    refused, count, sockets = REFUSED.search(text), COUNT.search(text), SOCKETS.search(text)
    if refused:
        return Report(0.0, f"{refused[1]} of {count[1] if count else '?'} requests were refused")
    if sockets and not re.fullmatch(r"connect 0, read 0, write 0, timeout 0", sockets[1].strip()):
        return Report(float(rate[1]), f"socket errors: {sockets[1].strip()}")
    return Report(float(rate[1]))
