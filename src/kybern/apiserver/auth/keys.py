"""The keys that sign service-account tokens: one signs, it and its predecessors verify, all are published.

A key's id is the SHA-256 of its public part, as upstream computes it, so it survives a restart and names one key only.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from kybern.web.account_token import key_id, unpadded

KEY_BITS = 2048


@dataclass(frozen=True, slots=True)
class Keys:
    signing: rsa.RSAPrivateKey
    verifying: Mapping[str, rsa.RSAPublicKey]
    """By id; holds the signing key's public part."""

    @property
    def signing_id(self) -> str:
        return key_id(self.signing.public_key())

    def jwks(self) -> dict[str, Any]:
        """The JSON Web Key Set (RFC 7517) that others verify our tokens with."""
        return {"keys": [jwk(name, key) for name, key in self.verifying.items()]}


def jwk(name: str, key: rsa.RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "use": "sig",
        "kty": "RSA",
        "kid": name,
        "alg": "RS256",
        "n": unpadded(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
        "e": unpadded(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
    }


def keys_of(signing: rsa.RSAPrivateKey, former: Iterable[rsa.RSAPublicKey] = ()) -> Keys:
    public = (signing.public_key(), *former)
    return Keys(signing, {key_id(key): key for key in public})


def new_signing_key() -> bytes:
    """A new private key as PEM (PKCS #8)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def keys_from_pem(signing: bytes, former: Iterable[bytes] = ()) -> Keys:
    """ValueError where the signing key is no RSA key; `former` holds public keys as PEM."""
    key = serialization.load_pem_private_key(signing, password=None)
    older = [serialization.load_pem_public_key(pem) for pem in former]
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the key that signs service-account tokens must be an RSA key")
    return keys_of(key, [old for old in older if isinstance(old, rsa.RSAPublicKey)])
