"""Requests for certificates, as kubelets and people make them."""

import base64
from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kybern.web.pki import Subject, name_of


def signing_request(
    common_name: str, organizations: Sequence[str] = (), dns_name: str = "", ip: str = "", email: str = ""
) -> str:
    """What a CertificateSigningRequest's `spec.request` holds, for a new key."""
    builder = x509.CertificateSigningRequestBuilder(name_of(Subject(common_name, tuple(organizations))))
    names: list[x509.GeneralName] = [x509.DNSName(dns_name)] if dns_name else []
    names += [x509.IPAddress(ip_address(ip))] if ip else []
    names += [x509.RFC822Name(email)] if email else []
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
