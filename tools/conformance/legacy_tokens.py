"""Clients of Kubernetes before 1.24, as the suite is one, wait until each service account has a Secret with a token."""

from msgspec.structs import replace

from kybern.api.core_v1 import ObjectReference, Secret, ServiceAccount
from kybern.api.errors import AlreadyExists
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.extensions import controller

OF = "kubernetes.io/service-account.name"
TOKEN = "kubernetes.io/service-account-token"


@controller(ServiceAccount)
async def has_a_token(account: ServiceAccount, view: View, client: Client) -> None:
    if account.secrets:
        return
    name = f"{account.metadata.name}-token"
    meta = ObjectMeta(name=name, namespace=account.metadata.namespace, annotations={OF: account.metadata.name or ""})
    try:
        await client.create(Secret(metadata=meta, type=TOKEN))
    except AlreadyExists:
        pass
    await client.update(replace(account, secrets=(ObjectReference(name=name),)))
