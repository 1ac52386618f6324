"""A client certificate's common name is the user, its organizations are the groups."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kybern.api.errors import Unauthorized
from kybern.apiserver.auth.certificates import UID, CertificateAuthenticator
from kybern.apiserver.auth.chain import Chain
from kybern.apiserver.request import ANONYMOUS, User
from kybern.web.http import Peer, Request

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = 1_800_000_000.0


@dataclass
class StandingClock:
    now: float = NOW

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def certificate(*names: tuple[x509.ObjectIdentifier, str]) -> bytes:
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in names])
    builder = x509.CertificateBuilder(
        issuer_name=subject, subject_name=subject, public_key=KEY.public_key(), serial_number=1,
        not_valid_before=datetime.fromtimestamp(NOW - 60, UTC), not_valid_after=datetime.fromtimestamp(NOW + 60, UTC),
    )  # fmt: skip
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def request(der: bytes | None, **headers: str) -> Request:
    return Request("GET", "/api", headers=headers, peer=Peer("127.0.0.1:1", der))


JANE = ((NameOID.COMMON_NAME, "jane"), (NameOID.ORGANIZATION_NAME, "dev"), (NameOID.ORGANIZATION_NAME, "ops"))


async def test_the_subject_is_the_user() -> None:
    chain = Chain((CertificateAuthenticator(StandingClock()),))
    for uid, names in (("", ()), ("42", ((UID, "42"),))):
        der = certificate(*JANE, *names)
        extra = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={sha256(der).hexdigest()}",)}
        assert await chain(request(der)) == User("jane", ("dev", "ops", "system:authenticated"), uid, extra)


async def test_who_has_two_uids_is_refused() -> None:
    chain = Chain((CertificateAuthenticator(StandingClock()),))
    with pytest.raises(Unauthorized):
        await chain(request(certificate(*JANE, (UID, "1"), (UID, "2"))))


async def test_without_a_certificate_or_a_name_in_it_one_is_anonymous() -> None:
    chain = Chain((CertificateAuthenticator(StandingClock()),))
    assert await chain(request(None)) == ANONYMOUS
    assert await chain(request(certificate((NameOID.ORGANIZATION_NAME, "system:masters")))) == ANONYMOUS


@pytest.mark.parametrize("seconds", [61, -61])
async def test_a_connection_does_not_outlive_its_certificate(seconds: float) -> None:
    clock = StandingClock()
    authenticator = CertificateAuthenticator(clock)
    der = certificate(*JANE)
    assert await authenticator(request(der)) is not None
    clock.now += seconds
    with pytest.raises(Unauthorized):
        await authenticator(request(der))


async def test_headers_of_a_front_proxy_say_nothing_here() -> None:
    chain = Chain((CertificateAuthenticator(StandingClock()),))
    headers = {"x-remote-user": "root", "x-remote-group": "system:masters"}
    assert await chain(request(None, **headers)) == ANONYMOUS
