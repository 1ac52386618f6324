"""root CA publisher: every namespace has a ConfigMap with the certificate that the API server can be recognised by."""

from kybern.api.core_v1 import ConfigMap, Namespace
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.publishing import publish

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


def root_ca(certificate: str) -> Controller[Namespace]:
    """The controller that publishes `certificate` (PEM)."""

    async def reconcile(namespace: Namespace, view: View, client: Client, context: Context) -> None:
        if namespace.metadata.deletion_timestamp is not None or namespace.status.phase == "Terminating":
            return
        wanted = config_map(namespace.metadata.name or "", certificate)
        known = view.get(ConfigMap, NAME, namespace.metadata.name or "")
        await publish(wanted, known, "data", client)

    return Controller(
        name="root-ca-certificate-publisher",
        reconciles=Namespace,
        watches=(Watch(ConfigMap, namespace_of),),
        by=reconcile,
    )


def config_map(namespace: str, certificate: str) -> ConfigMap:
    meta = ObjectMeta(name=NAME, namespace=namespace, annotations={"kubernetes.io/description": DESCRIPTION})
    return ConfigMap(metadata=meta, data={"ca.crt": certificate})


def namespace_of(config: ConfigMap, view: View) -> tuple[Key, ...]:
    return (Key("", config.metadata.namespace or ""),) if config.metadata.name == NAME else ()
