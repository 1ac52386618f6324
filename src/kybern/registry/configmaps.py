"""configmaps and secrets: named texts and bytes, small enough to be held in memory, and unchangeable where so marked."""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kybern.api import names
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.api.errors import BadRequest
from kybern.api.invalid import FieldError, forbidden_field, invalid_value, required, too_long
from kybern.registry.checks import immutable
from kybern.registry.columns import AGE, NAME
from kybern.registry.defaulting import part
from kybern.registry.parts import changed, kind_of
from kybern.registry.resource import Column, Resource
from kybern.registry.tls_pairs import pair_problem

SIZE_BYTES_MAX = 1024 * 1024
NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/=\r\n]|=(?!=?$)")
FIXED = "field is immutable when `immutable` is set"
KEYS_NEEDED = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"


def validate_config_map(config: ConfigMap) -> Iterator[FieldError]:
    size = 0
    if config.data:
        for key, text in config.data.items():
            for wrong in names.config_key(key):
                yield invalid_value(f"data[{key}]", key, wrong)
            if config.binary_data and key in config.binary_data:
                yield invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData")
            size += len(text) if text.isascii() else len(text.encode(errors="replace"))
    for key, text in (config.binary_data or {}).items():
        for wrong in names.config_key(key):
            yield invalid_value(f"binaryData[{key}]", key, wrong)
        size += decoded_size(text, "ConfigMap")
    if size > SIZE_BYTES_MAX:
        yield too_long("[]", "", SIZE_BYTES_MAX)


def decoded_size(text: str, kind: str) -> int:
    """How many bytes it stands for. What is no base64 fails like any other text that cannot be decoded."""
    try:
        return len(binascii.a2b_base64(text, strict_mode=True))
    except ValueError:
        wrong = NOT_BASE64.search(text)
        at = wrong.start() if wrong else len(text) // 4 * 4
        why = f'{kind} in version "v1" cannot be handled as a {kind}: illegal base64 data at input byte {at}'
        raise BadRequest(why) from None


def validate_config_map_update(config: ConfigMap, old: ConfigMap) -> Iterator[FieldError]:
    yield from validate_config_map(config)
    if old.immutable:
        yield from validate_fixed(config, old, ("data", "data"), ("binaryData", "binary_data"))


def validate_fixed(new: Any, old: Any, *fields: tuple[str, str]) -> Iterator[FieldError]:
    if not new.immutable:
        yield forbidden_field("immutable", FIXED)
    for field, name in fields:
        if (getattr(new, name) or {}) != (getattr(old, name) or {}):
            yield forbidden_field(field, FIXED)


def default_config_map(config: ConfigMap) -> ConfigMap:
    return part(config, "binary_data", unwrapped)


def unwrapped(data: Mapping[str, str]) -> Mapping[str, str]:
    """Base64 in lines, as files and YAML blocks have it, is kept in one."""
    if not any("\n" in text for text in data.values()):
        return data
    return {key: text.replace("\r", "").replace("\n", "") for key, text in data.items()}


def default_secret(secret: Secret) -> Secret:
    """What was given as text becomes bytes like the rest."""
    secret = part(secret, "data", unwrapped)
    changes: dict[str, Any] = {}
    if not secret.type:
        changes["type"] = "Opaque"
    if secret.string_data is not None:
        changes["data"] = {**(secret.data or {}), **encoded(secret.string_data)} or None
        changes["string_data"] = None
    return changed(secret, **changes) if changes else secret


def encoded(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def validate_secret(secret: Secret) -> Iterator[FieldError]:
    size = 0
    data = secret.data or {}
    for key, text in data.items():
        for wrong in names.config_key(key):
            yield invalid_value(f"data[{key}]", key, wrong)
        size += decoded_size(text, "Secret")
    if size > SIZE_BYTES_MAX:
        yield too_long("data", "", SIZE_BYTES_MAX)
    if secret.type != "Opaque":
        yield from validate_typed(secret.type or "", data, secret)


def validate_typed(type_: str, data: Mapping[str, str], secret: Secret) -> Iterator[FieldError]:
    for key in KEYS_NEEDED.get(type_, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key.startswith(".docker") and not is_json(data[key]):
            redacted = "<secret contents redacted>"
            yield invalid_value(f"data[{key}]", redacted, "invalid character in the secret's JSON")
    if type_ == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    account = (secret.metadata.annotations or {}).get(ACCOUNT_ANNOTATION)
    if type_ == "kubernetes.io/service-account-token" and not account:
        yield required(f"metadata.annotations[{ACCOUNT_ANNOTATION}]")


def is_json(text: str) -> bool:
    try:
        json.loads(base64.b64decode(text, validate=True))
    except (ValueError, RecursionError):
        return False
    return True


def validate_secret_update(secret: Secret, old: Secret) -> Iterator[FieldError]:
    yield from validate_secret(secret)
    yield from immutable("type", secret.type, old.type)
    if old.immutable:
        yield from validate_fixed(secret, old, ("data", "data"))


def secret_warnings(secret: Secret, old: Secret | None) -> Iterator[str]:
    if secret.type == "kubernetes.io/tls":
        certificate, key = (base64.b64decode((secret.data or {}).get(name, "")) for name in ("tls.crt", "tls.key"))
        problem = pair_problem(certificate, key)
        if problem:
            yield problem


CONFIG_MAPS = Resource(
    kind=kind_of(ConfigMap),
    short_names=("cm",),
    default=default_config_map,
    validate=validate_config_map,
    validate_update=validate_config_map_update,
    columns=(
        NAME,
        Column(
            "Data",
            lambda c, now: len(c.data or ()) + len(c.binary_data or ()),
            type="string",
            of="core_v1.ConfigMap.data",
        ),
        AGE,
    ),
)

SECRETS = Resource(
    kind=kind_of(Secret),
    default=default_secret,
    validate=validate_secret,
    validate_update=validate_secret_update,
    warnings=secret_warnings,
    selectable={"type": lambda secret: secret.type or ""},
    columns=(
        NAME,
        Column("Type", lambda secret, now: secret.type or "", of="core_v1.Secret.type"),
        Column("Data", lambda secret, now: len(secret.data or ()), type="string", of="core_v1.Secret.data"),
        AGE,
    ),
)
