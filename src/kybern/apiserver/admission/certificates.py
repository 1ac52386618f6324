"""CertificateRequester, -Approval, -Signing, -SubjectRestriction and ClusterTrustBundleAttest: who may have which certificate
issued, and say whose to trust.

- Approving, and signing, needs the right to do so with the request's signer: by its name, or for its whole domain.
- A request says who makes it: what its author wrote there is replaced, since approval relies on it.
- No client certificate may say that its holder is one of the system's masters.
"""

import base64

from cryptography import x509
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from kybern.api.certificates_v1 import CertificateSigningRequest, ClusterTrustBundle
from kybern.apiserver.admission.plugin import Plugin, is_write_of, refused
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.auth.rbac import MASTERS
from kybern.apiserver.request import Admission, Attributes, Authorizer, User
from kybern.web.pki import UNREADABLE

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
GROUP = "certificates.k8s.io"


def is_part(admission: Admission, subresource: str) -> bool:
    kind = admission.resource.kind.type
    return kind is CertificateSigningRequest and admission.subresource == subresource and admission.old is not None


async def may(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """By the signer's own name, or as `domain/*`."""
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        asked = Attributes(user=user, verb=verb, group=GROUP, version="*", resource="signers", name=name)
        if (await decided(authorizer, asked)).allowed:
            return True
    return False


class CertificateRequester(Plugin):
    name = "CertificateRequester"
    kinds = (CertificateSigningRequest,)

    async def admit(self, admission: Admission) -> None:
        if is_write_of(admission, CertificateSigningRequest, "CREATE"):
            admission.object = asked_by(admission.object, admission.user)


def asked_by(csr: CertificateSigningRequest, user: User) -> CertificateSigningRequest:
    extra = {key: tuple(values) for key, values in user.extra.items()} or None
    spec = replace(csr.spec, username=user.name, uid=user.uid or None, groups=user.groups or None, extra=extra)
    return replace(csr, spec=spec)


class CertificateApproval(Plugin):
    name = "CertificateApproval"
    kinds = (CertificateSigningRequest,)

    async def validate(self, admission: Admission) -> None:
        if not is_part(admission, "approval"):
            return
        signer = admission.old.spec.signer_name
        if not await may(self.inputs.authorizer, admission.user, "approve", signer):
            raise refused(admission, f'user not permitted to approve requests with signerName "{signer}"')


class CertificateSigning(Plugin):
    name = "CertificateSigning"
    kinds = (CertificateSigningRequest,)

    async def validate(self, admission: Admission) -> None:
        if not is_part(admission, "status"):
            return
        old, new = admission.old.status, admission.object.status
        if (old.certificate, failures(old.conditions)) == (new.certificate, failures(new.conditions)):
            return
        signer = admission.old.spec.signer_name
        if not await may(self.inputs.authorizer, admission.user, "sign", signer):
            raise refused(admission, f'user not permitted to sign requests with signerName "{signer}"')


def failures(conditions: tuple[object, ...] | None) -> list[object]:
    return [condition for condition in conditions or () if getattr(condition, "type", "") == "Failed"]


class ClusterTrustBundleAttest(Plugin):
    name = "ClusterTrustBundleAttest"
    kinds = (ClusterTrustBundle,)

    async def validate(self, admission: Admission) -> None:
        """A bundle that says it is of a signer needs the right to vouch for that signer."""
        if not is_write_of(admission, ClusterTrustBundle) or admission.object == admission.old:
            return
        signer = admission.object.spec.signer_name
        if signer and not await may(self.inputs.authorizer, admission.user, "attest", signer):
            raise refused(admission, f'user not permitted to attest for signerName "{signer}"')


class CertificateSubjectRestriction(Plugin):
    name = "CertificateSubjectRestriction"
    kinds = (CertificateSigningRequest,)

    async def validate(self, admission: Admission) -> None:
        if not is_write_of(admission, CertificateSigningRequest, "CREATE"):
            return
        spec = admission.object.spec
        if spec.signer_name == CLIENT_SIGNER and MASTERS in organizations(spec.request):
            raise refused(admission, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def organizations(request: str) -> list[str]:
    """Those that a certificate request names; none where it cannot be read, which validation refuses."""
    try:
        subject = x509.load_pem_x509_csr(base64.b64decode(request)).subject
    except UNREADABLE:
        return []
    return [str(item.value) for item in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
