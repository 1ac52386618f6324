"""What is encrypted on disk and with what: `<data>/pki/encryption.json`, an EncryptionConfiguration as upstream has it.

    {"resources": [{"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [{"name": ..., "secret": ...}]}}]}]}

The first key writes and all of them read. With `{"identity": {}}` before it nothing is written encrypted any more; what
is, can still be read. Whatever lies there in another form is rewritten when the server starts.
"""

import base64
import binascii
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from kybern.cmd.config import Cluster
from kybern.registry import RESOURCES
from kybern.store.seal import KEY_BYTES, OPEN, Seal
from kybern.web.private_file import write_private


class EncryptionError(Exception):
    """The configuration is of no use; the message says why."""


class Key(Struct, frozen=True):
    name: str
    secret: str


class Keys(Struct, frozen=True):
    keys: tuple[Key, ...]


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    aesgcm: Keys | None = None
    identity: dict[str, Any] | None = None


class Encrypted(Struct, frozen=True):
    resources: tuple[str, ...]
    providers: tuple[Provider, ...]


class EncryptionConfiguration(Struct, frozen=True, rename="camel"):
    resources: tuple[Encrypted, ...]
    kind: str = "EncryptionConfiguration"
    api_version: str = "apiserver.config.k8s.io/v1"


def file_of(cluster: Cluster) -> Path:
    return cluster.pki / "encryption.json"


def seal_of(cluster: Cluster) -> Seal:
    """EncryptionError where the configuration makes no sense. Without the option nothing new is encrypted."""
    path = file_of(cluster)
    if not path.exists():
        return OPEN
    seal = seal_from(read(path))
    return seal if cluster.options.encrypt_secrets else Seal(seal.prefixes, seal.secrets, writes=False)


def seal_from(configuration: EncryptionConfiguration) -> Seal:
    if len(configuration.resources) != 1:
        raise EncryptionError("one entry of resources, with all that are to be encrypted, is what can be done here")
    [entry] = configuration.resources
    secrets = {
        key.name: secret_in(key)
        for provider in entry.providers
        for key in (provider.aesgcm.keys if provider.aesgcm is not None else ())
    }
    if not secrets:
        raise EncryptionError("there is no key of the provider aesgcm")
    writes = entry.providers[0].identity is None
    return Seal(tuple(prefixes(entry.resources)), secrets, writes=writes)


def prefixes(names: Iterable[str]) -> Iterable[str]:
    """Where resources lie in the store: `secrets`, `deployments.apps`, or `*.*` for everything."""
    for name in names:
        found = [one for one in RESOURCES if name == "*.*" or one.kind.group_resource == name]
        if not found:
            raise EncryptionError(f"there is no resource {name!r}")
        yield from dict.fromkeys(one.prefix + "/" for one in found)


def secret_in(key: Key) -> bytes:
    try:
        secret = base64.b64decode(key.secret, validate=True)
    except binascii.Error:
        raise EncryptionError(f"the secret of the key {key.name!r} is not base64") from None
    if len(secret) != KEY_BYTES:
        raise EncryptionError(f"the secret of the key {key.name!r} has {len(secret)} bytes, not {KEY_BYTES}")
    if not key.name or ":" in key.name:
        raise EncryptionError(f"{key.name!r} is no name for a key")
    return secret


def read(path: Path) -> EncryptionConfiguration:
    try:
        return msgspec.json.decode(path.read_bytes(), type=EncryptionConfiguration)
    except msgspec.DecodeError as error:
        raise EncryptionError(f"{path}: {error}") from None


def prepare_encryption(cluster: Cluster) -> None:
    """A first key, where there is none and Secrets are to be encrypted."""
    if cluster.options.encrypt_secrets and not file_of(cluster).exists():
        keys = Keys((new_key(()),))
        entry = Encrypted(("secrets",), (Provider(aesgcm=keys), Provider(identity={})))
        write(file_of(cluster), EncryptionConfiguration((entry,)))


def add_key(cluster: Cluster) -> str:
    """A new key that writes from the next start of the server on; its name. The others still read."""
    configuration = read(file_of(cluster))
    seal_from(configuration)
    [entry] = configuration.resources
    known = tuple(key for provider in entry.providers if provider.aesgcm for key in provider.aesgcm.keys)
    new = new_key(known)
    providers = (Provider(aesgcm=Keys((new, *known))), *(one for one in entry.providers if one.aesgcm is None))
    write(file_of(cluster), EncryptionConfiguration((Encrypted(entry.resources, providers),)))
    return new.name


def new_key(known: Iterable[Key]) -> Key:
    taken = {key.name for key in known}
    number = next(number for number in range(1, len(taken) + 2) if f"key{number}" not in taken)
    return Key(f"key{number}", base64.b64encode(os.urandom(KEY_BYTES)).decode())


def write(path: Path, configuration: EncryptionConfiguration) -> None:
    value = msgspec.to_builtins(configuration)
    for entry in value["resources"]:
        entry["providers"] = [{k: v for k, v in one.items() if v is not None} for one in entry["providers"]]
    write_private(
        path, json.dumps({"kind": value.pop("kind"), "apiVersion": value.pop("apiVersion"), **value}).encode()
    )
