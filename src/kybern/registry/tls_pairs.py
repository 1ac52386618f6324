"""Whether a certificate and a private key, in PEM, are of each other: in the words of Go's TLS, as upstream warns of Secrets.

Nothing is refused by it. The key is read without proving that it is a good one, which takes long for large ones.
"""

import binascii
import re
from collections.abc import Iterator
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from kybern.web.pki import UNREADABLE

MARK = re.compile(rb"-----(?<![^\r\n]-----)(BEGIN|END) ([^\r\n-]*)-----[ \t]*(?![^\r\n])")
"""A line that begins or ends a block, found by its dashes."""
MARKS_MAX = 1000
KNOWN_KEYS = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)
AFTER = "input after skipping PEM blocks of the following types"
SWITCHED = (
    "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been "
    "switched"
)


def pair_problem(certificate: bytes, key: bytes) -> str:
    """What is wrong with the two; empty: nothing."""
    blocks, keys = list(blocks_of(certificate)), list(blocks_of(key))
    found = next((data for kind, data in blocks if kind == "CERTIFICATE"), None)
    if found is None:
        return no_certificate([kind for kind, _ in blocks])
    own = next((data for kind, data in keys if f" {kind}".endswith(" PRIVATE KEY")), None)
    if own is None:
        return no_key([kind for kind, _ in keys])
    try:
        public = x509.load_der_x509_certificate(found).public_key()
    except UNREADABLE:
        return "x509: malformed certificate"
    try:
        mine = serialization.load_der_private_key(own, None, unsafe_skip_rsa_key_validation=True).public_key()
    except (*UNREADABLE, TypeError):
        return "tls: failed to parse private key"
    if not isinstance(public, KNOWN_KEYS):
        return "tls: unknown public key algorithm"
    if type(mine) is not type(public):
        return "tls: private key type does not match public key type"
    return "" if mine == public else "tls: private key does not match public key"


def blocks_of(text: bytes) -> Iterator[tuple[str, bytes]]:
    """The first of them: who sent it may have sent a megabyte of beginnings, or of lines."""
    kind, start = b"", 0
    for mark in islice(MARK.finditer(text), MARKS_MAX):
        if mark[1] == b"BEGIN":
            kind, start = mark[2], mark.end()
        elif kind and mark[2] == kind:
            try:
                yield kind.decode(errors="replace"), binascii.a2b_base64(text[start : mark.start()])
            except ValueError:
                pass
            kind = b""


def no_certificate(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in certificate input"
    if len(skipped) == 1 and skipped[0].endswith("PRIVATE KEY"):
        return SWITCHED
    return f'tls: failed to find "CERTIFICATE" PEM block in certificate {AFTER}: [{" ".join(skipped)}]'


def no_key(skipped: list[str]) -> str:
    if not skipped:
        return "tls: failed to find any PEM data in key input"
    if skipped == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    return f'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key {AFTER}: [{" ".join(skipped)}]'
