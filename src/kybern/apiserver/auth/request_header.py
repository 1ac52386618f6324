"""Users whom a front proxy has authenticated: it shows a certificate of its own authority and says who they are.

- The proxy's authority is not the clients': a certificate of the one is nothing towards the other, so a user's own
  certificate never makes headers count, nor does the proxy's make it a user.
- Without such a certificate the headers are just headers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from kybern.aio.clock import Clock
from kybern.api.errors import Unauthorized
from kybern.apiserver.auth.certificates import PARSED_MAX, identity_of
from kybern.apiserver.request import User
from kybern.web.http import Peer, Request

AUTHORITY_SETS_MAX = 4  # the clients' own and the front proxies'


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontProxy:
    """Upstream's --requestheader-... flags; the headers that clients are named in, the first that is there counts."""

    authorities: tuple[x509.Certificate, ...]
    allowed_names: tuple[str, ...] = ()
    """Common names; any where there are none."""
    username_headers: tuple[str, ...] = ("x-remote-user",)
    uid_headers: tuple[str, ...] = ()
    group_headers: tuple[str, ...] = ("x-remote-group",)
    extra_prefixes: tuple[str, ...] = ("x-remote-extra-",)


@dataclass(frozen=True, slots=True)
class RequestHeaderAuthenticator:
    proxy: FrontProxy
    clock: Clock

    async def __call__(self, request: Request) -> User | None:
        certificate = request.peer.certificate
        if certificate is None or not is_of(request.peer, self.proxy.authorities):
            return None
        identity = identity_of(certificate)
        name = identity.user.name if identity is not None else ""
        is_allowed = not self.proxy.allowed_names or name in self.proxy.allowed_names
        if identity is None or not is_allowed or not identity.not_before <= self.clock.wall() <= identity.not_after:
            raise Unauthorized("Unauthorized")
        return named_in(request, self.proxy)


def named_in(request: Request, proxy: FrontProxy) -> User | None:
    """None where it names nobody: the proxy speaks for no user then, and is none itself."""
    name = first_of(request, proxy.username_headers)
    if not name:
        return None
    groups = tuple(group for header in proxy.group_headers for group in request.lines(header) if group)
    extra = {
        unquote(key.removeprefix(prefix)).lower(): tuple(request.lines(key))
        for prefix in proxy.extra_prefixes
        for key in request.headers
        if key.startswith(prefix)
    }
    return User(name, groups, first_of(request, proxy.uid_headers), extra)


def first_of(request: Request, names: Sequence[str]) -> str:
    return next((value for name in names for value in request.lines(name) if value), "")


def is_of(peer: Peer, authorities: tuple[x509.Certificate, ...]) -> bool:
    """Whether TLS verified it up to one of these, through whatever intermediate ones; where that is not known, whether one
    of these signed it itself."""
    if peer.authority is not None:
        return peer.authority in encoded(authorities)
    return peer.certificate is not None and is_signed_by(peer.certificate, authorities)


@lru_cache(AUTHORITY_SETS_MAX)
def encoded(authorities: tuple[x509.Certificate, ...]) -> frozenset[bytes]:
    return frozenset(authority.public_bytes(Encoding.DER) for authority in authorities)


@lru_cache(PARSED_MAX)
def is_signed_by(certificate: bytes, authorities: tuple[x509.Certificate, ...]) -> bool:
    parsed = x509.load_der_x509_certificate(certificate)
    return any(signed_by(parsed, authority) for authority in authorities)


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
