"""Values that are on disk only encrypted: which keys of the store, with which secrets, in which form.

Each value has a data key of its own, which lies beside it encrypted with one of the named secrets:

    k8s:enc:envelope:v1:NAME: nonce, data key (AES-256-GCM by the secret), nonce, value (AES-256-GCM by the data key)

The store's key is authenticated with both, so a value cannot be passed off as another's. The first secret writes, all
of them read; without a secret nothing is encrypted, and a value that is not encrypted is read as it is.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kybern.store.interface import Unavailable

FORM = b"k8s:enc:envelope:v1:"
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class Seal:
    prefixes: tuple[str, ...]
    """Of the keys whose values are encrypted."""
    secrets: Mapping[str, bytes]
    """By name, the one that writes first; 32 bytes each."""
    writes: bool = True
    """False: what is encrypted can be read, but is no longer written so."""

    def close(self, key: str, value: bytes) -> bytes:
        """As it goes to the disk."""
        if not self._concerns(key):
            return value
        name, secret = next(iter(self.secrets.items()))
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        wrapped = encrypted(secret, data_key, key)
        return b"%b%b:%b%b" % (FORM, name.encode(), wrapped, encrypted(data_key, value, key))

    def open(self, key: str, stored: bytes) -> bytes:
        """As it was before. Unavailable where the secret is missing or the bytes are not what was written."""
        if not stored.startswith(FORM):
            return stored
        name, _, rest = stored[len(FORM) :].partition(b":")
        secret = self.secrets.get(name.decode(errors="replace"))
        if secret is None:
            raise Unavailable(f"{key} is encrypted with the secret {name.decode(errors='replace')!r}, which is missing")
        try:
            data_key = decrypted(secret, rest[:WRAPPED_BYTES], key)
            return decrypted(data_key, rest[WRAPPED_BYTES:], key)
        except (InvalidTag, ValueError):
            raise Unavailable(f"{key} cannot be decrypted: it is damaged, or the secret is another one") from None

    def is_current(self, key: str, stored: bytes) -> bool:
        """Whether it would be written in the same form today."""
        if not self._concerns(key):
            return not stored.startswith(FORM)
        return stored.startswith(b"%b%b:" % (FORM, next(iter(self.secrets)).encode()))

    def _concerns(self, key: str) -> bool:
        return self.writes and bool(self.secrets) and key.startswith(self.prefixes)


OPEN = Seal((), {}, writes=False)
"""Encrypts nothing."""


def encrypted(secret: bytes, value: bytes, key: str) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(secret).encrypt(nonce, value, key.encode())


def decrypted(secret: bytes, value: bytes, key: str) -> bytes:
    return AESGCM(secret).decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], key.encode())
