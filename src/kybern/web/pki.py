"""Certificates: an authority, what it issues, and who a certificate says its holder is.

Keys are EC P-256; what signs service-account tokens is RSA-2048, because upstream's issuers are. All of it is PEM bytes.
Time is passed in. Key files are only ever readable by their owner and appear whole, by rename.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kybern.web.private_file import write_private

CA_DAYS = 3650
LEAF_DAYS = 365
DAY_SECONDS = 86400.0
BACKDATED = timedelta(minutes=5)  # For peers whose clock is a little behind.
SUBJECTS_CACHED_MAX = 4096

SERVER = "server"
CLIENT = "client"
USAGES = {
    SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "ipsec end system": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
    "ipsec tunnel": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
    "ipsec user": x509.ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
    "microsoft sgc": x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
    "netscape sgc": x509.ObjectIdentifier("2.16.840.1.113730.4.1"),
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
}

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    common_name: str
    organizations: tuple[str, ...] = ()


def create_ca(name: str, now: float, *, days: int = CA_DAYS) -> Pair:
    """A new authority; it may sign leaves only."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = starting(subject, subject, key.public_key(), now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
    return Pair(pem(builder.sign(key, hashes.SHA256())), key_pem(key))


def issue(
    ca: Pair,
    common_name: str,
    *,
    now: float,
    organizations: Iterable[str] = (),
    dns_names: Iterable[str] = (),
    ips: Iterable[str] = (),
    usages: Iterable[str] = (SERVER, CLIENT),
    days: int = LEAF_DAYS,
) -> Pair:
    """A new key and its certificate, signed by `ca`."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = Subject(common_name, tuple(organizations))
    certificate = certify(ca, subject, public, now=now, dns_names=dns_names, ips=ips, usages=usages, days=days)
    return Pair(certificate, key_pem(key))


def certify(
    ca: Pair,
    subject: Subject,
    public_key: PublicKey,
    *,
    now: float,
    dns_names: Iterable[str] = (),
    ips: Iterable[str] = (),
    other_names: Iterable[x509.GeneralName] = (),
    usages: Iterable[str] = (CLIENT,),
    key_encipherment: bool = True,
    days: float = LEAF_DAYS,
) -> bytes:
    """A certificate for a key that somebody else holds. It ends with its authority's at the latest."""
    authority, authority_key = parsed(ca)
    days = min(days, (authority.not_valid_after_utc.timestamp() - now) / DAY_SECONDS)
    builder = starting(name_of(subject), authority.subject, public_key, now, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = key_usage(signs_certificates=False, key_encipherment=key_encipherment)
    builder = builder.add_extension(usage, critical=True)
    extended = [USAGES[name] for name in usages]
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    issuer = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer)
    builder = builder.add_extension(identifier, critical=False)
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ip_address(ip)) for ip in ips]
    names += other_names
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return pem(builder.sign(authority_key, hashes.SHA256()))


def request(common_name: str, organizations: Iterable[str] = (), ips: Iterable[str] = ()) -> Pair:
    """A new key, and in place of the certificate the request for one (PKCS #10)."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of(Subject(common_name, tuple(organizations))))
    addresses = [x509.IPAddress(ip_address(ip)) for ip in ips]
    if addresses:
        builder = builder.add_extension(x509.SubjectAlternativeName(addresses), critical=False)
    signed = builder.sign(key, hashes.SHA256())
    return Pair(signed.public_bytes(serialization.Encoding.PEM), key_pem(key))


def self_signed(common_name: str, now: float) -> Pair:
    """For a server that has no better one yet: nobody trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = name_of(Subject(common_name))
    return Pair(pem(starting(name, name, key.public_key(), now, LEAF_DAYS).sign(key, hashes.SHA256())), key_pem(key))


def public_key_hash(certificate: bytes) -> str:
    """Of a certificate's (PEM) public key, in kubeadm's form: `sha256:` and the digest of its SubjectPublicKeyInfo."""
    public = x509.load_pem_x509_certificate(certificate).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return f"sha256:{hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()}"


def starting(subject: x509.Name, issuer: x509.Name, key: PublicKey, now: float, days: float) -> x509.CertificateBuilder:
    moment = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def key_usage(*, signs_certificates: bool, key_encipherment: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=key_encipherment and not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def name_of(subject: Subject) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, each) for each in subject.organizations]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name)])


@lru_cache(maxsize=8)
def parsed(pair: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = serialization.load_pem_private_key(pair.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an EC key")
    return x509.load_pem_x509_certificate(pair.certificate), key


UNREADABLE = (
    ValueError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What reading a certificate that somebody sent, or a request for one, fails with."""


def proves_its_key(request: x509.CertificateSigningRequest) -> bool:
    """Whether who made it has the key that it is for; one that makes no sense is nobody's."""
    try:
        return request.is_signature_valid
    except UNREADABLE:
        return False


@lru_cache(maxsize=SUBJECTS_CACHED_MAX)
def subject_of(der: bytes) -> Subject:
    """Who a certificate (DER) names. It says nothing about whether the certificate is genuine: TLS has checked that."""
    name = x509.load_der_x509_certificate(der).subject
    common_names = [str(part.value) for part in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    organizations = tuple(str(part.value) for part in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return Subject(common_names[0] if common_names else "", organizations)


def expires_at(certificate: bytes) -> float:
    """The end of a certificate's (PEM) validity, seconds since 1970."""
    return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()


def create_signing_key() -> bytes:
    """A private key (PEM) for RS256 signatures."""
    return key_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def public_key_of(key: bytes) -> bytes:
    """The public half (PEM) of a private key."""
    public = serialization.load_pem_private_key(key, None).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_pair(directory: Path, name: str, pair: Pair) -> None:
    """As `name.key` and `name.crt`, the key first: a certificate on disk always has its key."""
    write_private(directory / f"{name}.key", pair.key)
    write_private(directory / f"{name}.crt", pair.certificate)


def read_certificate(directory: Path, name: str) -> bytes | None:
    """Without its key, which may be on another machine."""
    try:
        return (directory / f"{name}.crt").read_bytes()
    except FileNotFoundError:
        return None


def read_pair(directory: Path, name: str) -> Pair | None:
    try:
        return Pair((directory / f"{name}.crt").read_bytes(), (directory / f"{name}.key").read_bytes())
    except FileNotFoundError:
        return None
