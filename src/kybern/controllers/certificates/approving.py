"""certificate approving: a kubelet gets its own client certificate, where its user may have one, and a node's network its own.

Who asks is what the API server wrote into the request. The right to get a certificate for any node, or the one's own,
is a matter of roles: `certificatesigningrequests/nodeclient` and `/selfnodeclient`. Nothing else is approved by itself.
"""

from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.authorization_v1 import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kybern.api.certificates_v1 import CertificateSigningRequest, CertificateSigningRequestCondition
from kybern.api.errors import Forbidden
from kybern.client import Client, View
from kybern.controllers.certificates.requests import (
    KUBELET_CLIENT,
    NETWORK_CLIENT,
    RETRY,
    Asked,
    asked_by,
    condition_types,
    refusal,
)
from kybern.reconcile import Context, Controller

RIGHTS = {KUBELET_CLIENT: "nodeclient", NETWORK_CLIENT: "nodenetworkclient"}
"""By signer: what one must be allowed to create, as a part of certificate requests."""
SELF = "Auto approving self kubelet client certificate after SubjectAccessReview."
ANY = "Auto approving kubelet client certificate after SubjectAccessReview."


async def reconcile(csr: CertificateSigningRequest, view: View, client: Client, context: Context) -> None:
    if csr.status.certificate or condition_types(csr) & {"Approved", "Denied"}:
        return
    tried = permissions(csr)
    for subresource, message in tried:
        if (await client.create(review(csr, subresource))).status.allowed:
            await client.update(approved(csr, message, context.now), subresource="approval")
            return
    if tried:
        names = " ".join(subresource for subresource, _ in tried)
        name = csr.metadata.name
        raise Forbidden(f'recognized csr "{name}" as [{names}] but subject access review was not approved')


def permissions(csr: CertificateSigningRequest) -> list[tuple[str, str]]:
    """Of which rights one is enough, and what is said then; none where no rule knows the request."""
    right = RIGHTS.get(csr.spec.signer_name)
    if right is None:
        return []
    try:
        asked: Asked = asked_by(csr)
    except ValueError:
        return []
    if refusal(csr.spec.signer_name, asked):
        return []
    own = asked.subject.common_name == csr.spec.username
    return [*([(f"self{right}", SELF)] if own else []), (right, ANY)]


def review(csr: CertificateSigningRequest, subresource: str) -> SubjectAccessReview:
    wanted = ResourceAttributes(
        group="certificates.k8s.io",
        version="*",
        resource="certificatesigningrequests",
        subresource=subresource,
        verb="create",
    )
    spec = csr.spec
    return SubjectAccessReview(
        spec=SubjectAccessReviewSpec(
            user=spec.username, uid=spec.uid, groups=spec.groups, extra=spec.extra, resource_attributes=wanted
        )
    )


def approved(csr: CertificateSigningRequest, message: str, now: float) -> CertificateSigningRequest:
    condition = CertificateSigningRequestCondition(
        type="Approved",
        status="True",
        reason="AutoApproved",
        message=message,
        last_update_time=rfc3339(now),
        last_transition_time=rfc3339(now),
    )
    return replace(csr, status=replace(csr.status, conditions=(*(csr.status.conditions or ()), condition)))


CERTIFICATE_APPROVING = Controller(
    name="certificate-approving", reconciles=CertificateSigningRequest, by=reconcile, retry=RETRY
)
