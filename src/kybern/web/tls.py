"""TLS contexts: 1.2 and newer, forward-secret authenticated suites only (CIS benchmark 1.2.29).

Certificates come as PEM text. OpenSSL reads a chain and its key from files only, so they pass through an anonymous
file in memory, never through one that others could open.
"""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

SUITES_TLS12 = "ECDHE+AESGCM:ECDHE+CHACHA20"
PROTOCOLS = ["http/1.1"]
PROTOCOLS_OF_HTTP2 = ["h2", *PROTOCOLS]
AUTHORITIES_MAX = 64


def server_context(
    certificate: bytes, key: bytes, *, client_ca: bytes | None = None, http2: bool = False
) -> ssl.SSLContext:
    """With `client_ca` a client may show a certificate, and one that does not verify ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    strengthen(context)
    if http2:
        context.set_alpn_protocols(PROTOCOLS_OF_HTTP2)
    load_pair(context, certificate, key)
    context.options |= ssl.OP_NO_RENEGOTIATION
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(
    *, ca: bytes | None = None, certificate: bytes | None = None, key: bytes | None = None, verify: bool = True
) -> ssl.SSLContext:
    """Trusts `ca` alone, or the machine's authorities where it is None. `certificate` may hold its key too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    strengthen(context)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is not None:
        context.load_verify_locations(cadata=ca.decode())
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate is not None:
        load_pair(context, certificate, key or b"")
    return context


def strengthen(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(SUITES_TLS12)
    context.set_alpn_protocols(PROTOCOLS)


def authority_of(tls: Any) -> bytes | None:
    """The certificate (DER) that the peer's verified chain ends in; one object for all its peers. None where it is not told:
    of a resumed session, and by Python's own TLS before 3.13."""
    chain: list[bytes] = tls.get_verified_chain() if hasattr(tls, "get_verified_chain") else []
    return shared(chain[-1]) if chain else None


@lru_cache(AUTHORITIES_MAX)
def shared(certificate: bytes) -> bytes:
    return certificate


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    with private_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path)


@contextmanager
def private_file(content: bytes) -> Iterator[str]:
    """A path that names `content` while the block runs."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
