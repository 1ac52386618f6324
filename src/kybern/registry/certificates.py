"""certificatesigningrequests, clustertrustbundles, podcertificaterequests: who vouches for whom."""

import base64
from collections.abc import Iterator

from kybern.api import names
from kybern.api.certificates_v1 import (
    CertificateSigningRequest,
    CertificateSigningRequestCondition,
    CertificateSigningRequestStatus,
    ClusterTrustBundle,
    PodCertificateRequest,
)
from kybern.api.invalid import FieldError, duplicate, invalid_value, not_supported, required
from kybern.registry.checks import immutable
from kybern.registry.columns import AGE, NAME, NONE, UNKNOWN, human
from kybern.registry.parts import changed, clear_status, keep_status, kind_of, status, whole
from kybern.registry.resource import Column, Resource, Subresource

SECONDS_MIN = 600
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
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


def validate_signer(signer: str, at: str) -> Iterator[FieldError]:
    if not signer:
        yield required(at)
        return
    domain, slash, path = signer.partition("/")
    if not slash or not path or "/" in path:
        yield invalid_value(
            at, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        )
        return
    for wrong in names.dns1123_subdomain(domain):
        yield invalid_value(at, signer, f"validating label {domain!r}: {wrong}")
    if "." not in domain:
        yield invalid_value(at, signer, "should be a domain with at least two segments separated by dots")


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
        Column("SignerName", lambda csr, now: csr.spec.signer_name or UNKNOWN),
        Column("Requestor", lambda csr, now: csr.spec.username or ""),
        Column("RequestedDuration", duration_cell),
        Column("Condition", condition_cell),
    ),
)


# --- trust bundles and pod certificates -------------------------------------------------------------------------------


def validate_bundle(bundle: ClusterTrustBundle) -> Iterator[FieldError]:
    signer, name = bundle.spec.signer_name, bundle.metadata.name or ""
    if signer:
        yield from validate_signer(signer, "spec.signerName")
        prefix = signer.replace("/", ":") + ":"
        if not name.startswith(prefix):
            why = f"ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
            yield invalid_value("metadata.name", name, why)
    elif ":" in name:
        why = 'ClusterTrustBundle without signer name must not have ":" in its name'
        yield invalid_value("metadata.name", name, why)
    if "-----BEGIN CERTIFICATE-----" not in bundle.spec.trust_bundle:
        yield invalid_value("spec.trustBundle", "<value omitted>", "at least one trust anchor must be provided")


def validate_bundle_update(bundle: ClusterTrustBundle, old: ClusterTrustBundle) -> Iterator[FieldError]:
    yield from validate_bundle(bundle)
    yield from immutable("spec.signerName", bundle.spec.signer_name, old.spec.signer_name)


def bundle_name(name: str) -> tuple[str, ...]:
    """`signer:name`, where a signer's domain and path are joined by a colon."""
    return names.dns1123_subdomain(name.rpartition(":")[2])


CLUSTER_TRUST_BUNDLES = Resource(
    kind=kind_of(ClusterTrustBundle),
    validate=validate_bundle,
    validate_update=validate_bundle_update,
    validate_name=bundle_name,
    selectable={"spec.signerName": lambda bundle: bundle.spec.signer_name or ""},
    columns=(NAME, Column("SignerName", lambda bundle, now: bundle.spec.signer_name or NONE)),
)


def validate_pod_request(found: PodCertificateRequest) -> Iterator[FieldError]:
    spec = found.spec
    yield from validate_signer(spec.signer_name, "spec.signerName")
    for field, value in (
        ("podName", spec.pod_name), ("podUID", spec.pod_uid), ("serviceAccountName", spec.service_account_name),
        ("serviceAccountUID", spec.service_account_uid), ("nodeName", spec.node_name), ("nodeUID", spec.node_uid),
    ):  # fmt: skip
        if not value:
            yield required(f"spec.{field}")


def validate_pod_request_update(found: PodCertificateRequest, old: PodCertificateRequest) -> Iterator[FieldError]:
    yield from immutable("spec", found.spec, old.spec)


POD_CERTIFICATE_REQUESTS = Resource(
    kind=kind_of(PodCertificateRequest),
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
        Column("PodName", lambda found, now: found.spec.pod_name),
        Column("ServiceAccountName", lambda found, now: found.spec.service_account_name),
        Column("NodeName", lambda found, now: found.spec.node_name),
        Column("SignerName", lambda found, now: found.spec.signer_name),
        AGE,
    ),
)
