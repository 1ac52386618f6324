"""certificatesigningrequests, clustertrustbundles, podcertificaterequests: who vouches for whom."""

import base64
import re
from collections.abc import Iterator

from cryptography import x509

from kybern.api import names
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
    ClusterTrustBundle,
    PodCertificateRequest,
)
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required, too_long
from kybern.registry.checks import immutable, named
from kybern.registry.columns import AGE, NAME, NONE, human
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, status, whole
from kybern.registry.resource import Column, Resource, Subresource
from kybern.registry.signers import bundle_name, is_own, validate_signer
from kybern.web.pki import UNREADABLE, proves_its_key

SECONDS_MIN = 600
POD_SECONDS_MIN = 3600
POD_SECONDS_MAX = 91 * 24 * 3600
OWN_POD_SECONDS_MAX = 24 * 3600
UID_BYTES_MAX = 128
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\s(.*?)-----END \1-----", re.DOTALL)
APPROVAL = ("Approved", "Denied")


def validate_request(csr: CertificateSigningRequest) -> Iterator[FieldError]:
    spec = csr.spec
    if not is_request(spec.request):
        why = "PEM block type must be CERTIFICATE REQUEST"
        yield invalid_value("spec.request", spec.request, why)
    if not spec.usages:
        yield required("spec.usages")
    seen: set[str] = set()
    for index, usage in enumerate(spec.usages or ()):
        if usage not in USAGES:
            yield not_supported(f"spec.usages[{index}]", usage, USAGES)
        if usage in seen:
            yield duplicate(f"spec.usages[{index}]", usage)
        seen.add(usage)
    yield from validate_signer(spec.signer_name, "spec.signerName")
    seconds = spec.expiration_seconds
    if seconds is not None and seconds < SECONDS_MIN:
        why = f"may not specify a duration less than {SECONDS_MIN} seconds (10 minutes)"
        yield invalid_value("spec.expirationSeconds", seconds, why)


def is_request(request: str) -> bool:
    try:
        text = base64.b64decode(request, validate=True).decode()
    except ValueError:
        return False
    return "-----BEGIN CERTIFICATE REQUEST-----" in text or "-----BEGIN NEW CERTIFICATE REQUEST-----" in text


def validate_conditions(csr: CertificateSigningRequest, old: CertificateSigningRequest) -> Iterator[FieldError]:
    types = {condition.type for condition in csr.status.conditions or ()}
    if types.issuperset(APPROVAL):
        why = "Approved and Denied conditions are mutually exclusive"
        yield invalid_value("status.conditions", "Approved", why)
    for index, condition in enumerate(csr.status.conditions or ()):
        if not condition.type:
            yield required(f"status.conditions[{index}].type")
        if condition.type in (*APPROVAL, "Failed") and condition.status != "True":
            yield not_supported(f"status.conditions[{index}].status", condition.status, ("True",))
    if old.status.certificate:
        yield from immutable("status.certificate", csr.status.certificate, old.status.certificate)
    elif csr.status.certificate:
        wrong = wrong_with_certificates(csr.status.certificate)
        if wrong:
            yield invalid_value("status.certificate", "<certificate data>", wrong)


def wrong_with_certificates(text: str) -> str:
    """Empty: nothing. Text around the blocks is let be."""
    try:
        found = PEM_BLOCK.findall(base64.b64decode(text, validate=True).decode())
    except ValueError:
        found = []
    if not found:
        return "must contain one or more PEM blocks"
    for kind, body in found:
        if kind != "CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{kind}"'
        if ":" in body:
            return "no PEM block headers are permitted"
        try:
            x509.load_der_x509_certificate(base64.b64decode(body))
        except UNREADABLE:
            return "x509: malformed certificate"
    return ""


def write_approval(stored: CertificateSigningRequest, sent: CertificateSigningRequest) -> CertificateSigningRequest:
    """Only the conditions: the certificate is the signer's to give."""
    return changed(sent, spec=stored.spec, status=changed(stored.status, conditions=sent.status.conditions))


def write_status(stored: CertificateSigningRequest, sent: CertificateSigningRequest) -> CertificateSigningRequest:
    """Everything but approval and denial."""
    kept = tuple(c for c in stored.status.conditions or () if c.type in APPROVAL)
    told = tuple(c for c in sent.status.conditions or () if c.type not in APPROVAL)
    conditions: tuple[CertificateSigningRequestCondition, ...] | None = (*kept, *told) or None
    status_now: CertificateSigningRequestStatus = changed(sent.status, conditions=conditions)
    return changed(sent, spec=stored.spec, status=status_now)


def validate_request_update(csr: CertificateSigningRequest, old: CertificateSigningRequest) -> Iterator[FieldError]:
    yield from immutable("spec", csr.spec, old.spec)


def condition_cell(csr: CertificateSigningRequest, now: float) -> str:
    types = {condition.type for condition in csr.status.conditions or ()}
    words = ["Denied" if "Denied" in types else "Approved" if "Approved" in types else "Pending"]
    if "Failed" in types:
        words.append("Failed")
    if csr.status.certificate:
        words.append("Issued")
    return ",".join(words)


def duration_cell(csr: CertificateSigningRequest, now: float) -> str:
    seconds = csr.spec.expiration_seconds
    return NONE if seconds is None else human(seconds)


CERTIFICATE_SIGNING_REQUESTS = Resource(
    kind=kind_of(CertificateSigningRequest),
    short_names=("csr",),
    on_create=clear_status,
    on_update=lambda csr, old: changed(csr, spec=old.spec, status=old.status),
    validate=validate_request,
    validate_update=validate_request_update,
    validate_name=names.path_segment,
    subresources=(
        Subresource(name="approval", read=whole, write=write_approval, validate=validate_conditions),
        Subresource(name="status", read=whole, write=write_status, validate=validate_conditions),
    ),
    selectable={"spec.signerName": lambda csr: csr.spec.signer_name},
    columns=(
        NAME,
        AGE,
        Column(
            "SignerName",
            lambda csr, now: csr.spec.signer_name or NONE,
            of="certificates_v1.CertificateSigningRequestSpec.signerName",
        ),
        Column(
            "Requestor",
            lambda csr, now: csr.spec.username or "",
            of="certificates_v1.CertificateSigningRequestSpec.request",
        ),
        Column(
            "RequestedDuration", duration_cell, of="certificates_v1.CertificateSigningRequestSpec.expirationSeconds"
        ),
        Column("Condition", condition_cell, of="certificates_v1.CertificateSigningRequestStatus.conditions"),
    ),
)


# --- trust bundles and pod certificates -------------------------------------------------------------------------------


def validate_bundle(bundle: ClusterTrustBundle) -> Iterator[FieldError]:
    signer, name = bundle.spec.signer_name or "", bundle.metadata.name or ""
    for wrong in bundle_name(name, signer):
        yield invalid_value("metadata.name", name, wrong)
    if signer:
        yield from validate_signer(signer, "spec.signerName")
    if "-----BEGIN CERTIFICATE-----" not in bundle.spec.trust_bundle:
        yield invalid_value("spec.trustBundle", "<value omitted>", "at least one trust anchor must be provided")


def validate_bundle_update(bundle: ClusterTrustBundle, old: ClusterTrustBundle) -> Iterator[FieldError]:
    yield from validate_bundle(bundle)
    yield from immutable("spec.signerName", bundle.spec.signer_name, old.spec.signer_name)


def any_name(name: str) -> tuple[str, ...]:
    """What a bundle may be called depends on its signer; see `validate_bundle`."""
    return ()


CLUSTER_TRUST_BUNDLES = Resource(
    kind=kind_of(ClusterTrustBundle),
    version_needed=True,
    validate=validate_bundle,
    validate_update=validate_bundle_update,
    validate_name=any_name,
    selectable={"spec.signerName": lambda bundle: bundle.spec.signer_name or ""},
    columns=(
        NAME,
        Column(
            "SignerName",
            lambda bundle, now: bundle.spec.signer_name or NONE,
            of="certificates_v1.ClusterTrustBundleSpec.signerName",
        ),
    ),
)


def validate_pod_request(found: PodCertificateRequest) -> Iterator[FieldError]:
    spec = found.spec
    yield from validate_signer(spec.signer_name, "spec.signerName")
    yield from named("spec.podName", spec.pod_name, names.dns1123_subdomain)
    yield from validate_uid(spec.pod_uid, "spec.podUID")
    yield from named("spec.serviceAccountName", spec.service_account_name, names.dns1123_subdomain)
    yield from validate_uid(spec.service_account_uid, "spec.serviceAccountUID")
    yield from named("spec.nodeName", spec.node_name, names.dns1123_subdomain)
    yield from validate_uid(spec.node_uid, "spec.nodeUID")
    seconds = spec.max_expiration_seconds
    longest = OWN_POD_SECONDS_MAX if is_own(spec.signer_name) else POD_SECONDS_MAX
    if seconds is None:
        yield required("spec.maxExpirationSeconds", "must be set")
    elif not POD_SECONDS_MIN <= seconds <= longest:
        why = f"must be in the range [{POD_SECONDS_MIN}, {longest}]"
        yield invalid_value("spec.maxExpirationSeconds", seconds, why)
    try:
        request = x509.load_der_x509_csr(base64.b64decode(spec.stub_pkcs10_request, validate=True))
    except UNREADABLE as error:
        why = f"must be a valid PKCS#10 certificate request: {error}" if spec.stub_pkcs10_request else ""
        yield (
            invalid_value("spec.stubPKCS10Request", "<value omitted>", why)
            if why
            else required("spec.stubPKCS10Request")
        )
    else:
        if not proves_its_key(request):
            yield invalid_value("spec.stubPKCS10Request", "<value omitted>", "signature does not verify")


def validate_uid(uid: str, at: str) -> Iterator[FieldError]:
    if not uid:
        yield required(at, "must be set")
    elif len(uid) > UID_BYTES_MAX:
        yield too_long(at, uid, UID_BYTES_MAX)


def validate_pod_request_update(found: PodCertificateRequest, old: PodCertificateRequest) -> Iterator[FieldError]:
    yield from immutable("spec", found.spec, old.spec)


def name_column(title: str, name: str) -> Column:
    field = f"{title[0].lower()}{title[1:]}"
    return Column(
        title, lambda found, now: getattr(found.spec, name), of=f"certificates_v1.PodCertificateRequestSpec.{field}"
    )


def state_cell(found: PodCertificateRequest, now: float) -> str:
    states = [c.type for c in found.status.conditions or () if c.type in ("Issued", "Denied", "Failed")]
    return states[-1] if states else "Pending"


POD_CERTIFICATE_REQUESTS = Resource(
    kind=kind_of(PodCertificateRequest),
    version_needed=True,
    on_create=clear_status,
    on_update=keep_status,
    validate=validate_pod_request,
    validate_update=validate_pod_request_update,
    subresources=(status(),),
    selectable={
        "spec.signerName": lambda found: found.spec.signer_name,
        "spec.podName": lambda found: found.spec.pod_name,
        "spec.nodeName": lambda found: found.spec.node_name,
    },
    columns=(
        NAME,
        name_column("PodName", "pod_name"),
        name_column("ServiceAccountName", "service_account_name"),
        name_column("NodeName", "node_name"),
        name_column("SignerName", "signer_name"),
        Column("State", state_cell, description="Is the request Pending, Issued, Denied, or Failed?"),
    ),
)
