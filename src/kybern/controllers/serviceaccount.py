"""serviceaccount: every namespace has a ServiceAccount `default`, which its pods run as unless they say otherwise."""

from kybern.api.core_v1 import Namespace, ServiceAccount
from kybern.api.errors import AlreadyExists
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch

NAME = "default"


async def reconcile(namespace: Namespace, view: View, client: Client, context: Context) -> None:
    if not is_missing(namespace, view):
        return
    try:
        await client.create(ServiceAccount(metadata=ObjectMeta(name=NAME, namespace=namespace.metadata.name)))
    except AlreadyExists:
        pass


def is_missing(namespace: Namespace, view: View) -> bool:
    active = namespace.metadata.deletion_timestamp is None and namespace.status.phase != "Terminating"
    return active and view.get(ServiceAccount, NAME, namespace.metadata.name or "") is None


SERVICEACCOUNT = Controller(
    name="serviceaccounts",
    component="service-account-controller",
    reconciles=Namespace,
    watches=(Watch(ServiceAccount, lambda account, view: (Key("", account.metadata.namespace or ""),)),),
    by=reconcile,
)
