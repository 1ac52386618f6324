"""service account tokens: a Secret of type `kubernetes.io/service-account-token` holds its account's token, the cluster's
certificate and its namespace; it goes with its account.

Such tokens never end, so nobody gets one who does not ask for it by making the Secret. An account that is not in the
View is looked up at the server before its Secrets are deleted: the View may be late, and a deletion cannot be taken back.
"""

import base64
from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec.structs import replace

from kybern.api.core_v1 import Secret, ServiceAccount
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.web.account_token import secret_claims, signed

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
ACCOUNT_UID = "kubernetes.io/service-account.uid"


def service_account_tokens(signing_key: bytes, certificate: str) -> Controller[Secret]:
    """The controller that signs with `signing_key` (PEM) and hands out `certificate` (PEM)."""
    key = serialization.load_pem_private_key(signing_key, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the key that signs service-account tokens must be an RSA key")

    accounts: dict[Key, tuple[str, str]] = {}

    async def reconcile(secret: Secret, view: View, client: Client, context: Context) -> None:
        if secret.type != TYPE:
            return
        accounts[Key.of(secret)] = (annotation(secret, ACCOUNT_NAME), annotation(secret, ACCOUNT_UID))
        if secret.metadata.deletion_timestamp is not None:
            return
        account = await account_of(secret, view, client)
        try:
            if account is None:
                meta = secret.metadata
                await client.delete(Secret, meta.name or "", meta.namespace or "", uid=meta.uid or "")
            elif (whole := filled(secret, account, certificate, key)) != secret:
                await client.update(whole)
        except (NotFound, Conflict):
            return  # it has changed, and its change wakes this loop again

    async def gone(key: Key, view: View, client: Client, context: Context) -> None:
        name, uid = accounts.get(key, ("", ""))
        known = view.get(ServiceAccount, name, key.namespace)
        if known is not None and uid in ("", known.metadata.uid):
            await unlist(key, known, client)
        accounts.pop(key, None)

    return Controller(
        name="serviceaccount-token",
        component="serviceaccount-token-controller",
        reconciles=Secret,
        concerns=lambda secret: secret.type == TYPE,
        watches=(Watch(ServiceAccount, secrets_of),),
        by=reconcile,
        gone=gone,
    )


async def unlist(secret: Key, account: ServiceAccount, client: Client) -> None:
    """The account lists its Secrets; one that is gone is no longer among them."""
    kept = tuple(ref for ref in account.secrets or () if ref.name != secret.name)
    if len(kept) == len(account.secrets or ()):
        return
    try:
        await client.update(replace(account, secrets=kept or None))
    except NotFound:
        pass


async def account_of(secret: Secret, view: View, client: Client) -> ServiceAccount | None:
    name, namespace = annotation(secret, ACCOUNT_NAME), secret.metadata.namespace or ""
    known = view.get(ServiceAccount, name, namespace)
    if known is not None and is_of(secret, known):
        return known
    try:
        found = await client.get(ServiceAccount, name, namespace)
    except NotFound:
        return None
    return found if is_of(secret, found) else None


def is_of(secret: Secret, account: ServiceAccount) -> bool:
    """Another account of the same name is not the one that the Secret was made for."""
    return annotation(secret, ACCOUNT_UID) in ("", account.metadata.uid)


def annotation(secret: Secret, name: str) -> str:
    return (secret.metadata.annotations or {}).get(name, "")


def filled(secret: Secret, account: ServiceAccount, certificate: str, key: rsa.RSAPrivateKey) -> Secret:
    """With everything that is missing or wrong; a token that is there stays."""
    namespace, name, uid = (account.metadata.namespace or "", account.metadata.name or "", account.metadata.uid or "")
    data = dict(secret.data or {})
    if certificate:
        data |= encoded({"ca.crt": certificate})
    if not data.get("namespace"):
        data |= encoded({"namespace": namespace})
    if not data.get("token"):
        data |= encoded({"token": signed(secret_claims(namespace, secret.metadata.name or "", name, uid), key)})
    annotations = {**(secret.metadata.annotations or {}), ACCOUNT_NAME: name, ACCOUNT_UID: uid}
    return replace(secret, data=data, metadata=replace(secret.metadata, annotations=annotations))


def encoded(texts: Mapping[str, str]) -> dict[str, str]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def secrets_of(account: ServiceAccount, view: View) -> Iterable[Key]:
    for secret in view.list(Secret, account.metadata.namespace or ""):
        if secret.type == TYPE and annotation(secret, ACCOUNT_NAME) == account.metadata.name:
            yield Key.of(secret)
