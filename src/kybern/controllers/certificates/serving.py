"""certificate serving: a kubelet gets the certificate that it shows to the API server, for its own addresses only.

Upstream leaves this to people, since a node chooses what its Node object says: one that names another's address would get
a certificate with which to stand in that other's place. So an address counts only where the node asks for itself, its
object has the address, and nobody else in the cluster does: no other node, no Service, no API server. What does not fit
is left to people (docs/decisions/0013).
"""

from collections.abc import Iterable
from ipaddress import ip_address

from kybern.api.certificates_v1 import CertificateSigningRequest
from kybern.api.core_v1 import Endpoints, Node, Service
from kybern.client import Client, View
from kybern.controllers.certificates.approving import approved
from kybern.controllers.certificates.requests import (
    KUBELET_SERVING,
    NODE_PREFIX,
    Asked,
    asked_by,
    condition_types,
    refusal,
)
from kybern.reconcile import After, Context, Controller

RETRY_SECONDS = 1.0
MESSAGE = "Auto approving kubelet serving certificate for the node's own addresses."


async def reconcile(csr: CertificateSigningRequest, view: View, client: Client, context: Context) -> After | None:
    if csr.spec.signer_name != KUBELET_SERVING or csr.status.certificate or condition_types(csr):
        return None
    try:
        asked = asked_by(csr)
    except ValueError:
        return None
    if refusal(KUBELET_SERVING, asked) or csr.spec.username != asked.subject.common_name:
        return None
    node = view.get(Node, asked.subject.common_name.removeprefix(NODE_PREFIX))
    if node is None or not node.status.addresses:
        return After(RETRY_SECONDS)  # it registers right now, or it is none of ours
    others = others_addresses(node, view.list(Node), view.list(Service), view.get(Endpoints, "kubernetes", "default"))
    if is_its_own(asked, node, others):
        await client.update(approved(csr, MESSAGE, context.now), subresource="approval")
    return None


def is_its_own(asked: Asked, node: Node, others: set[str]) -> bool:
    """No names: a node may be called as anybody, `kubernetes.default.svc` say."""
    own = {entry.address for entry in node.status.addresses or () if entry.type in ("InternalIP", "ExternalIP")}
    return not asked.dns_names and all(is_of_a_machine(ip) for ip in asked.ips) and set(asked.ips) <= own - others


def is_of_a_machine(text: str) -> bool:
    address = ip_address(text)
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)


def others_addresses(
    node: Node, nodes: Iterable[Node], services: Iterable[Service], api_server: Endpoints | None
) -> set[str]:
    others = (other for other in nodes if other.metadata.name != node.metadata.name)
    found = {entry.address for other in others for entry in other.status.addresses or ()}
    for service in services:
        found |= {*(service.spec.cluster_ips or ()), *(service.spec.external_ips or ())}
    subsets = (api_server and api_server.subsets) or ()
    return found | {address.ip for subset in subsets for address in subset.addresses or ()}


CERTIFICATE_SERVING = Controller(name="certificate-serving", reconciles=CertificateSigningRequest, by=reconcile)
