"""A controller: every ConfigMap that is labelled `share: everywhere` is copied into all namespaces, and stays the same.

kybern up --extension examples/05-extensions/shared_config.py
kubectl create configmap motd --from-literal=text=hello && kubectl label configmap motd share=everywhere
kubectl get configmap motd -A
"""

from msgspec.structs import replace

from kybern.api.core_v1 import ConfigMap, Namespace
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.extensions import controller


@controller(ConfigMap, reads=(Namespace,))
async def shared(source: ConfigMap, view: View, client: Client) -> None:
    if (source.metadata.labels or {}).get("share") != "everywhere":
        return
    for namespace in view.list(Namespace):
        copy = view.get(ConfigMap, source.metadata.name, namespace.metadata.name)
        if copy is None:
            meta = ObjectMeta(name=source.metadata.name, namespace=namespace.metadata.name)
            await client.create(ConfigMap(metadata=meta, data=source.data))
        elif copy.data != source.data:
            await client.update(replace(copy, data=source.data))
