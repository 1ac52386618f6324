"""Client certificates: the common name is the user, every organization a group. A uid may stand beside them.

TLS has verified the chain, the purpose and the dates at the handshake. A connection can outlive its certificate, so the
dates are looked at again for every request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from kybern.aio.clock import Clock
from kybern.api.errors import Unauthorized
from kybern.apiserver.auth.chain import as_authenticated
from kybern.apiserver.request import User
from kybern.web.http import Peer, Request

UID = x509.ObjectIdentifier("1.3.6.1.4.1.57683.2")
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
PARSED_MAX = 4096  # certificates kept as parsed: one for each client that is connected, and some


@dataclass(frozen=True, slots=True)
class Identity:
    user: User
    not_before: float
    not_after: float


@lru_cache(PARSED_MAX)
def identity_of(certificate: bytes) -> Identity | None:
    """None where it names nobody: upstream asks for a common name. Unauthorized where it has more than one uid."""
    parsed = x509.load_der_x509_certificate(certificate)
    names = [str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if not names or not names[-1]:
        return None
    groups = tuple(str(item.value) for item in parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    uids = [str(item.value) for item in parsed.subject.get_attributes_for_oid(UID)]
    if len(uids) > 1 or "" in uids:
        raise Unauthorized("Unauthorized")
    extra = {CREDENTIAL_ID: (f"X509SHA256={sha256(certificate).hexdigest()}",)}
    return Identity(
        as_authenticated(User(names[-1], groups, "".join(uids), extra)),
        parsed.not_valid_before_utc.timestamp(),
        parsed.not_valid_after_utc.timestamp(),
    )


def never(peer: Peer) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class CertificateAuthenticator:
    clock: Clock
    refused: Callable[[Peer], bool] = never
    """Certificates that TLS verified, but not as a client's."""

    async def __call__(self, request: Request) -> User | None:
        if request.peer.certificate is None or self.refused(request.peer):
            return None
        identity = identity_of(request.peer.certificate)
        if identity is None:
            return None
        if not identity.not_before <= self.clock.wall() <= identity.not_after:
            raise Unauthorized("Unauthorized")
        return identity.user
