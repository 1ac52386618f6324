"""bootstrap signer and token cleaner: the tokens that new nodes join with, kept as Secrets in kube-system.

A new node trusts nobody yet, but knows a token's secret half. So the public ConfigMap `cluster-info` carries, for every
token that may vouch for it, a signature (JWS, its payload left out) of the kubeconfig in it. Expired tokens are deleted.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from kybern.aio.clock import from_rfc3339
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.reconcile import After, Context, Controller, Key
from kybern.reconcile.controller import Watch

TOKENS, PUBLIC = "kube-system", "kube-public"
CLUSTER_INFO = "cluster-info"
KUBECONFIG = "kubeconfig"
SIGNATURE = "jws-kubeconfig-"
TYPE = "bootstrap.kubernetes.io/token"
NAME = "bootstrap-token-"
ID, SECRET = re.compile(r"[a-z0-9]{6}", re.ASCII), re.compile(r"[a-z0-9]{16}", re.ASCII)


async def sign(config: ConfigMap, view: View, client: Client, context: Context) -> After | None:
    """Every signature that should be there is there, and no other."""
    if config.metadata.name != CLUSTER_INFO or config.metadata.namespace != PUBLIC:
        return None
    secrets = [secret for secret in view.list(Secret, TOKENS) if is_token(secret)]
    data = signed(config.data or {}, vouching(secrets, context.now))
    if data != (config.data or {}):
        await client.update(replace(config, data=data))
    ends = [left for secret in secrets if (left := seconds_left(secret, context.now)) is not None and left > 0]
    return After(min(ends)) if ends else None


def signed(data: Mapping[str, str], tokens: Mapping[str, str]) -> dict[str, str]:
    """`tokens`: id → secret. What is not a signature stays as it is."""
    content = data.get(KUBECONFIG)
    if content is None:
        return dict(data)
    others = {key: value for key, value in data.items() if not key.startswith(SIGNATURE)}
    return others | {f"{SIGNATURE}{id_}": detached(content, id_, secret) for id_, secret in sorted(tokens.items())}


def detached(content: str, id_: str, secret: str) -> str:
    """A compact JWS whose payload is elsewhere (RFC 7515, appendix F): `HEADER..SIGNATURE`."""
    header = unpadded(json.dumps({"alg": "HS256", "kid": id_}, separators=(",", ":")).encode())
    message = f"{header}.{unpadded(content.encode())}".encode()
    return f"{header}..{unpadded(hmac.digest(secret.encode(), message, hashlib.sha256))}"


def unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def vouching(secrets: Iterable[Secret], now: float) -> dict[str, str]:
    """The tokens that are meant for signing and still good: id → secret."""
    found = {}
    for secret in secrets:
        id_, password = entry(secret, "token-id"), entry(secret, "token-secret")
        right = ID.fullmatch(id_) and SECRET.fullmatch(password) and secret.metadata.name == f"{NAME}{id_}"
        left = seconds_left(secret, now)
        if right and entry(secret, "usage-bootstrap-signing") == "true" and (left is None or left > 0):
            found[id_] = password
    return found


async def clean(secret: Secret, view: View, client: Client, context: Context) -> After | None:
    left = seconds_left(secret, context.now) if is_token(secret) else None
    if left is None:
        return None
    if left > 0:
        return After(left)
    try:
        await client.delete(Secret, secret.metadata.name or "", TOKENS, uid=secret.metadata.uid or "")
    except (NotFound, Conflict):
        pass
    return None


def is_token(secret: Secret) -> bool:
    meta = secret.metadata
    return secret.type == TYPE and meta.namespace == TOKENS and meta.deletion_timestamp is None


def seconds_left(secret: Secret, now: float) -> float | None:
    """None where it never ends; an end that cannot be read has passed."""
    end = entry(secret, "expiration")
    if not end:
        return None
    try:
        return max(from_rfc3339(end) - now, 0.0)
    except ValueError:
        return 0.0


def entry(secret: Secret, key: str) -> str:
    try:
        return base64.b64decode((secret.data or {}).get(key, ""), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def cluster_info(secret: Secret, view: View) -> tuple[Key, ...]:
    return (Key(PUBLIC, CLUSTER_INFO),) if secret.type == TYPE else ()


BOOTSTRAP_SIGNER = Controller(
    name="bootstrap-signer", reconciles=ConfigMap, watches=(Watch(Secret, cluster_info),), by=sign
)
TOKEN_CLEANER = Controller(name="token-cleaner", reconciles=Secret, by=clean)
