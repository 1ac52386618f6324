"""certificate cleaning: a request goes an hour after it got its certificate, was denied or failed, a day after nobody
decided it or its certificate did not come, and when the certificate that it got has ended. What a pod asked for was answered
long ago, or never will be."""

import base64

from kybern.aio.clock import from_rfc3339
from kybern.api.certificates_v1 import CertificateSigningRequest, PodCertificateRequest
from kybern.api.errors import Conflict, NotFound
from kybern.client import Client, View
from kybern.reconcile import Context, Periodic
from kybern.web.pki import expires_at

EVERY_SECONDS = 3600.0
DECIDED_SECONDS = 3600.0
PENDING_SECONDS = 86400.0
PODS_EVERY_SECONDS = 300.0
PODS_REQUEST_SECONDS = 900.0


async def clean(view: View, client: Client, context: Context) -> None:
    for csr in view.list(CertificateSigningRequest):
        if is_over(csr, context.now):
            try:
                await client.delete(CertificateSigningRequest, csr.metadata.name or "", uid=csr.metadata.uid or "")
            except (NotFound, Conflict):
                continue


def is_over(csr: CertificateSigningRequest, now: float) -> bool:
    if not csr.status.conditions:
        return is_older(csr.metadata.creation_timestamp, PENDING_SECONDS, now)
    approved = DECIDED_SECONDS if csr.status.certificate else PENDING_SECONDS
    return has_ended(csr, now) or any(
        is_older(found.last_update_time, approved if found.type == "Approved" else DECIDED_SECONDS, now)
        for found in csr.status.conditions
    )


def is_older(moment: str | None, seconds: float, now: float) -> bool:
    return now - from_rfc3339(moment) > seconds if moment else False


def has_ended(csr: CertificateSigningRequest, now: float) -> bool:
    if not csr.status.certificate:
        return False
    try:
        return expires_at(base64.b64decode(csr.status.certificate)) < now
    except ValueError:
        return False  # another signer's, in a form that cannot be read


async def clean_pods(view: View, client: Client, context: Context) -> None:
    for asked in view.list(PodCertificateRequest):
        meta = asked.metadata
        if context.now - from_rfc3339(meta.creation_timestamp or "") >= PODS_REQUEST_SECONDS:
            try:
                await client.delete(PodCertificateRequest, meta.name or "", meta.namespace or "", uid=meta.uid or "")
            except (NotFound, Conflict):
                continue


POD_CERTIFICATE_CLEANING = Periodic(
    name="pod-certificate-cleaning",
    every_seconds=PODS_EVERY_SECONDS,
    by=clean_pods,
    reads=(PodCertificateRequest,),
    idle=lambda view: not view.list(PodCertificateRequest),
)

CERTIFICATE_CLEANING = Periodic(
    name="certificate-cleaning", every_seconds=EVERY_SECONDS, by=clean, reads=(CertificateSigningRequest,)
)
