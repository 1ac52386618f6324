"""certificate signing: an approved request for one of the cluster's own signers becomes a certificate, or a failure that
says why not. All signers share the cluster's authority."""

import base64

from cryptography import x509
from msgspec.structs import replace

from kybern.aio.clock import rfc3339
from kybern.api.certificates_v1 import CertificateSigningRequest, CertificateSigningRequestCondition
from kybern.client import Client, View
from kybern.controllers.certificates.requests import REFUSALS, RETRY, Asked, asked_by, condition_types, refusal
from kybern.reconcile import Context, Controller
from kybern.web.pki import CLIENT, SERVER, USAGES, Pair, certify

LIFETIME_SECONDS_MAX = 365 * 86400  # upstream's --cluster-signing-duration
LIFETIME_SECONDS_MIN = 600
NAMES = {"server auth": SERVER, "client auth": CLIENT, "s/mime": "email protection"}
"""What requests call a use of a certificate that `web.pki` calls otherwise."""


def certificate_signing(ca: Pair) -> Controller[CertificateSigningRequest]:
    """The controller that signs with `ca`."""

    async def reconcile(csr: CertificateSigningRequest, view: View, client: Client, context: Context) -> None:
        if is_to_sign(csr):
            await client.update_status(decided(csr, ca, context.now))

    return Controller(name="certificate-signing", reconciles=CertificateSigningRequest, by=reconcile, retry=RETRY)


def is_to_sign(csr: CertificateSigningRequest) -> bool:
    types = condition_types(csr)
    waits = "Approved" in types and not types & {"Denied", "Failed"} and not csr.status.certificate
    return waits and csr.spec.signer_name in REFUSALS


def decided(csr: CertificateSigningRequest, ca: Pair, now: float) -> CertificateSigningRequest:
    """The request with its certificate, or with the condition Failed."""
    try:
        asked = asked_by(csr)
        wrong = refusal(csr.spec.signer_name, asked)
    except ValueError as error:
        wrong = f'unable to parse csr "{csr.metadata.name}": {error}'
    if wrong:
        return failed(csr, wrong, now)
    certificate = signed(asked, ca, lifetime(csr.spec.expiration_seconds), now)
    return replace(csr, status=replace(csr.status, certificate=base64.b64encode(certificate).decode()))


def lifetime(asked_seconds: int | None) -> int:
    if asked_seconds is None:
        return LIFETIME_SECONDS_MAX
    return min(max(asked_seconds, LIFETIME_SECONDS_MIN), LIFETIME_SECONDS_MAX)


def signed(asked: Asked, ca: Pair, seconds: int, now: float) -> bytes:
    return certify(
        ca,
        asked.subject,
        asked.key,
        now=now,
        dns_names=asked.dns_names,
        ips=asked.ips,
        other_names=[
            *map(x509.RFC822Name, asked.emails),
            *map(x509.UniformResourceIdentifier, asked.uris),
        ],
        usages=extended_usages(asked),
        key_encipherment="key encipherment" in asked.usages,
        days=seconds / 86400,
    )


def extended_usages(asked: Asked) -> list[str]:
    """None left out: a certificate that names no use may be used for anything."""
    return sorted({NAMES.get(usage, usage) for usage in asked.usages} & USAGES.keys())


def failed(csr: CertificateSigningRequest, message: str, now: float) -> CertificateSigningRequest:
    condition = CertificateSigningRequestCondition(
        type="Failed",
        status="True",
        reason="SignerValidationFailure",
        message=message,
        last_update_time=rfc3339(now),
        last_transition_time=rfc3339(now),
    )
    return replace(csr, status=replace(csr.status, conditions=(*(csr.status.conditions or ()), condition)))
