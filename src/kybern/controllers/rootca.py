"""root CA publisher: every namespace has a ConfigMap with the certificate that the API server can be recognised by."""

from msgspec.structs import replace

from kybern.api.core_v1 import ConfigMap, Namespace
from kybern.api.errors import ApiError, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import Context, Controller, Key
from kybern.reconcile.controller import Watch
from kybern.reconcile.pods import is_namespace_terminating
from kybern.reconcile.publishing import publish

NAME = "kube-root-ca.crt"
TOLD = "kubernetes.io/description"
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
        if known is not None and not (known.metadata.annotations or {}).get(TOLD):
            annotations = {**(known.metadata.annotations or {}), TOLD: DESCRIPTION}
            told = replace(known, data=wanted.data, metadata=replace(known.metadata, annotations=annotations))
            await client.update(told)
            return
        try:
            await publish(wanted, known, "data", client)
        except ApiError as error:
            if not isinstance(error, NotFound) and not is_namespace_terminating(error):
                raise

    return Controller(
        name="root-ca-certificate-publisher",
        reconciles=Namespace,
        watches=(Watch(ConfigMap, namespace_of),),
        by=reconcile,
    )


def config_map(namespace: str, certificate: str) -> ConfigMap:
    meta = ObjectMeta(name=NAME, namespace=namespace, annotations={TOLD: DESCRIPTION})
    return ConfigMap(metadata=meta, data={"ca.crt": certificate})


def namespace_of(config: ConfigMap, view: View) -> tuple[Key, ...]:
    return (Key("", config.metadata.namespace or ""),) if config.metadata.name == NAME else ()
