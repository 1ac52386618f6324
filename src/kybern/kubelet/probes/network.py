"""Small network questions: does a port accept, what does a URL answer.

An HTTP probe is one request on one connection: nothing is pooled, no certificate is checked (the address is the pod's),
and no redirect to another host is followed.
"""

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote, urljoin, urlsplit

from kybern.aio.timeouts import timeout
from kybern.kubelet.probes.targets import HttpTarget

BODY_BYTES_MAX = 10 * 1024
HEAD_BYTES_MAX = 64 * 1024
REDIRECTS_MAX = 10


class HttpFault(Exception):
    """No answer came; the message says why."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    body: str
    redirected_away: str = ""
    """Where a redirect to another host would have led."""


async def http_get(target: HttpTarget, timeout_seconds: float) -> HttpAnswer:
    try:
        async with timeout(timeout_seconds):
            return await _follow(target)
    except TimeoutError:
        raise HttpFault(
            f'Get "{target.url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        ) from None
    except (OSError, EOFError, ValueError) as error:
        raise HttpFault(f'Get "{target.url}": {_reason(error, target)}') from error


async def _follow(target: HttpTarget) -> HttpAnswer:
    for _ in range(REDIRECTS_MAX):
        answer, location = await _exchange(target)
        if not 300 <= answer.status < 400 or not location:
            return answer
        url = urlsplit(urljoin(target.url, location))
        if url.hostname != target.host:
            return HttpAnswer(answer.status, answer.body, location)
        secure = url.scheme == "https"
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        target = HttpTarget(secure, target.host, url.port or (443 if secure else 80), path, target.headers)
    raise ValueError(f"stopped after {REDIRECTS_MAX} redirects")


async def _exchange(target: HttpTarget) -> tuple[HttpAnswer, str]:
    reader, writer = await asyncio.open_connection(
        target.host, target.port, ssl=unverified() if target.secure else None, limit=HEAD_BYTES_MAX
    )
    try:
        writer.write(_request(target))
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise ValueError(f"malformed HTTP response {lines[0][:64]!r}")
        parts = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in parts}
        return HttpAnswer(int(rest[:3]), await _body(reader, headers)), headers.get("location", "")
    except asyncio.LimitOverrunError:
        raise ValueError("the head of the answer is too long") from None
    finally:
        writer.close()


def _request(target: HttpTarget) -> bytes:
    headers = {name.lower(): (name, value) for name, value in target.headers}
    host = f"[{target.host}]" if ":" in target.host else target.host
    headers.setdefault("host", ("Host", f"{host}:{target.port}"))
    headers["connection"] = ("Connection", "close")
    lines = [
        f"GET {_escaped(target.path)} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.values() if _plain(value)),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


def _escaped(path: str) -> str:
    """What would break out of the request line."""
    return "".join(c if "!" <= c <= "~" else quote(c) for c in path)


def _plain(text: str) -> bool:
    return "\r" not in text and "\n" not in text


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> str:
    """Its beginning, which is all that a probe shows; framing is left as it comes."""
    length = headers.get("content-length", "")
    wanted = min(int(length), BODY_BYTES_MAX) if length.isdecimal() else BODY_BYTES_MAX
    pieces = b""
    while len(pieces) < wanted:
        piece = await reader.read(wanted - len(pieces))
        if not piece:
            break
        pieces += piece
    return pieces.decode(errors="replace")


async def tcp_connect(host: str, port: int, timeout_seconds: float) -> str:
    """Empty when the port accepts, else why it does not."""
    try:
        async with timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"dial tcp {host}:{port}: i/o timeout"
    except OSError as error:
        return f"dial tcp {host}:{port}: {_connect_reason(error)}"
    writer.close()
    return ""


def _reason(error: Exception, target: HttpTarget) -> str:
    if isinstance(error, EOFError):
        return "EOF"
    if isinstance(error, OSError):
        return f"dial tcp {target.host}:{target.port}: {_connect_reason(error)}"
    return str(error)


def _connect_reason(error: OSError) -> str:
    text = {111: "connection refused", 113: "no route to host", 101: "network is unreachable"}
    return f"connect: {text.get(error.errno or 0, error.strerror or str(error))}"


@cache
def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
