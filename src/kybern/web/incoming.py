"""A request as it came over a connection: what RFC 9112 refuses although the parser lets it pass, and who sent it."""

import asyncio
import ssl
from dataclasses import dataclass

from kybern.web.http import BadRequest, Peer, Request, Response
from kybern.web.inflow import Inflow
from kybern.web.tls import authority_of

SINGLE = (
    "host",
    "authorization",
    "expect",
    "content-type",
)  # A second one would be read differently by the next reader.


@dataclass(slots=True)
class Incoming:
    """A request and what its connection must know to answer it; or, as `refusal`, that it was none."""

    request: Request
    keep_alive: bool = False
    http10: bool = False
    upgrade: bool = False
    inflow: Inflow | None = None
    refusal: Response | None = None


def check_head(version: str, headers: dict[str, str]) -> None:
    """What the parser lets pass and RFC 9112 does not."""
    if version not in ("1.1", "1.0"):
        raise BadRequest(f"HTTP version {version} not supported", 505)
    if "host" not in headers and version == "1.1":
        raise BadRequest("missing required Host header")
    if "transfer-encoding" in headers:
        if version == "1.0":
            raise BadRequest("transfer-encoding in an HTTP/1.0 request")
        if headers["transfer-encoding"].lower() != "chunked":
            raise BadRequest("unsupported transfer encoding", 501)
    if "expect" in headers and headers["expect"].lower() != "100-continue":
        raise BadRequest("unsupported expectation", 417)


def split_target(method: str, url: bytes) -> tuple[str, str]:
    """Path and query of a request target, in origin or absolute form."""
    target = url.decode("latin-1")
    if not target.startswith("/"):
        if target == "*" and method == "OPTIONS":
            return "*", ""
        scheme, found, rest = target.partition("://")
        if not found or scheme not in ("http", "https") or method == "CONNECT":
            raise BadRequest("unsupported request target")
        slash = rest.find("/")
        target = rest[slash:] if slash >= 0 else "/"
    path, _, query = target.partition("?")
    return path, query.partition("#")[0]


def peer_of(transport: asyncio.Transport) -> Peer:
    name = transport.get_extra_info("peername")
    tls = transport.get_extra_info("ssl_object")
    verified = tls is not None and tls.context.verify_mode != ssl.CERT_NONE
    certificate = tls.getpeercert(True) if verified else None
    authority = authority_of(tls) if certificate else None
    if isinstance(name, tuple):
        host = f"[{name[0]}]" if ":" in name[0] else name[0]
        return Peer(f"{host}:{name[1]}", certificate, authority)
    return Peer(str(name or ""), certificate, authority)
