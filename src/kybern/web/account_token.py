"""Tokens of service accounts: how they are signed, and what the ones of old say, which are kept in Secrets and never end.

Both the API server, which checks them, and the controller that fills the Secrets need this.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ISSUER = "kubernetes/serviceaccount"
CLAIM = "kubernetes.io/serviceaccount/"


def key_id(key: rsa.RSAPublicKey) -> str:
    """The SHA-256 of the public part, as upstream computes it."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return unpadded(hashlib.sha256(der).digest())


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: Mapping[str, Any], key: rsa.RSAPrivateKey) -> str:
    return jwt.encode(dict(claims), key, algorithm="RS256", headers={"kid": key_id(key.public_key()), "typ": None})


def secret_claims(namespace: str, secret: str, account: str, uid: str) -> dict[str, str]:
    """What the token in a service-account Secret says."""
    return {
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{account}",
        f"{CLAIM}namespace": namespace,
        f"{CLAIM}secret.name": secret,
        f"{CLAIM}service-account.name": account,
        f"{CLAIM}service-account.uid": uid,
    }
