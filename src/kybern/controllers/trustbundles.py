"""trust bundle publisher: pods may mount, as a ClusterTrustBundle, the certificate that the API server can be recognised by.

The bundle is named after what is in it; those of former certificates of the same signer go.
"""

import hashlib

from kybern.api.certificates_v1 import ClusterTrustBundle, ClusterTrustBundleSpec
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, View
from kybern.reconcile import Context, Periodic
from kybern.reconcile.publishing import publish

SIGNER = "kubernetes.io/kube-apiserver-serving"
NAME = "kube-apiserver-serving-clustertrustbundle-publisher"
HASH_BYTES = 12
EVERY_SECONDS = 5.0  # while something is not as it should be; else it waits for a change


def trust_bundle_publisher(certificate: str) -> Periodic:
    """The loop that publishes `certificate` (PEM)."""
    wanted = bundle_of(certificate)

    def is_published(view: View) -> bool:
        found = of_signer(view)
        return len(found) == 1 and found[0].metadata.name == wanted.metadata.name and found[0].spec == wanted.spec

    async def keep(view: View, client: Client, context: Context) -> None:
        await publish(wanted, view.get(ClusterTrustBundle, wanted.metadata.name or ""), "spec", client)
        for other in of_signer(view):
            if other.metadata.name != wanted.metadata.name:
                try:
                    await client.delete(ClusterTrustBundle, other.metadata.name or "", uid=other.metadata.uid or "")
                except NotFound:
                    pass

    return Periodic(name=NAME, every_seconds=EVERY_SECONDS, reads=(ClusterTrustBundle,), by=keep, idle=is_published)


def bundle_of(certificate: str) -> ClusterTrustBundle:
    named = hashlib.sha256(certificate.encode()).digest()[:HASH_BYTES].hex()
    return ClusterTrustBundle(
        metadata=ObjectMeta(name=f"{SIGNER.replace('/', ':')}:{named}"),
        spec=ClusterTrustBundleSpec(signer_name=SIGNER, trust_bundle=certificate),
    )


def of_signer(view: View) -> list[ClusterTrustBundle]:
    return [bundle for bundle in view.list(ClusterTrustBundle) if bundle.spec.signer_name == SIGNER]
