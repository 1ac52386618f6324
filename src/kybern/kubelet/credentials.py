"""Which registry credentials in a pod's imagePullSecrets are for a given image, and whose they are."""

import hashlib
import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from kybern.api.core_v1 import Secret
from kybern.runtime.cri import AuthConfig

DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
FORMATS = {".dockerconfigjson": True, ".dockercfg": False}


T = TypeVar("T")


class SecretUsed(msgspec.Struct, frozen=True, rename="camel"):
    """A secret that a pull was allowed with."""

    uid: str
    namespace: str
    name: str
    credential_hash: str

    @property
    def place(self) -> tuple[str, str, str]:
        return self.uid, self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Login:
    auth: AuthConfig
    secret: SecretUsed | None = None
    """Where it comes from; None where it is the node's own."""


def credentials_for(image: str, secrets: Iterable[Secret]) -> list[Login]:
    """The most specific first; empty when none is meant for the image's registry."""
    return most_specific(image, [entry for secret in secrets for entry in _entries(secret)])


def most_specific(image: str, entries: Iterable[tuple[str, T]]) -> list[T]:
    """Of credentials by their place, those that are for an image, the longest place first."""
    found = [(len(where), entry) for where, entry in entries if matches(where, image)]
    return [entry for _, entry in sorted(found, key=lambda pair: -pair[0])]


def _entries(secret: Secret) -> list[tuple[str, Login]]:
    entries: list[tuple[str, Login]] = []
    for key, wrapped in FORMATS.items():
        text = (secret.data or {}).get(key)
        if text is None:
            continue
        try:
            parsed: Any = json.loads(b64decode(text))
            registries = parsed.get("auths", {}) if wrapped else parsed
            entries += [(_place(where), _login(secret, _auth(entry))) for where, entry in registries.items()]
        except (ValueError, AttributeError, NotBase64):
            continue  # what cannot be read grants nothing
    return entries


def _login(secret: Secret, auth: AuthConfig) -> Login:
    meta, digest = secret.metadata, hashlib.sha256(msgspec.json.encode(auth)).hexdigest()
    return Login(auth, SecretUsed(meta.uid or "", meta.namespace or "", meta.name or "", digest))


def _auth(entry: dict[str, str]) -> AuthConfig:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth") and not username:
        username, _, password = b64decode(entry["auth"]).decode().partition(":")
    return AuthConfig(username=username, password=password, identity_token=entry.get("identitytoken", ""))


def _place(where: str) -> str:
    """`https://index.docker.io/v1/` and `registry.example:5000/team` as `host[:port][/path]`."""
    url = urlsplit(where if "//" in where else f"//{where}")
    path = url.path.strip("/")
    path = "" if path in ("v1", "v2") else path
    host = "docker.io" if url.netloc in DOCKER_HUB else url.netloc
    return f"{host}/{path}" if path else host


def repository_of(image: str) -> str:
    """`nginx` is `docker.io/library/nginx`."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return f"docker.io/{rest}" if first in DOCKER_HUB else image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def matches(where: str, image: str) -> bool:
    """Of `where` each part of the host may be a pattern, and the path a beginning."""
    host, _, path = where.partition("/")
    image_host, _, image_path = repository_of(image).partition("/")
    name, _, port = host.partition(":")
    image_name, _, image_port = image_host.partition(":")
    wanted, parts = name.split("."), image_name.split(".")
    return (
        (len(wanted), port) == (len(parts), image_port)
        and all(map(fnmatchcase, parts, wanted))
        and (not path or f"{image_path}/".startswith(f"{path}/"))
    )
