"""An AdmissionReview: the question as JSON, and an answer that is believed only where it fits the question.

The answer must be for the request that was sent, in the version that was asked for; a patch comes only from who may change.
"""

import base64
import binascii
from typing import Any

import msgspec

from kybern.api.codec import untyped
from kybern.api.errors import ApiError, BadRequest, from_status
from kybern.api.meta_v1 import Status
from kybern.apiserver.admission.matching.requested import request_of
from kybern.apiserver.admission.matching.versioned import Versioned

GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")
WARNING_LENGTH_MAX = 256
"""Of each, as upstream cuts them."""
REFUSALS = range(400, 600)


class AdmissionResponse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    uid: str = ""
    allowed: bool = False
    status: Status | None = None
    patch: str | None = None
    patch_type: str | None = None
    audit_annotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class AdmissionReview(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    response: AdmissionResponse | None = None


class InvalidAnswer(Exception):
    """What came back is no answer to what was asked."""


def version_for(webhook: Any) -> str | None:
    """The first of the versions that the webhook knows and we do."""
    return next((version for version in webhook.admission_review_versions or () if version in VERSIONS), None)


def question(versioned: Versioned, uid: str, version: str) -> bytes:
    request = {
        "uid": uid,
        **request_of(versioned),
        "object": versioned.object,
        "oldObject": versioned.old,
    }
    return msgspec.json.encode({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request})


def answer(body: bytes, uid: str, version: str, *, may_patch: bool) -> AdmissionResponse:
    try:
        review = msgspec.json.decode(body, type=AdmissionReview)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidAnswer(f"couldn't decode the answer: {error}") from None
    response = review.response
    if response is None:
        raise InvalidAnswer("webhook response was absent")
    if version == "v1" or review.kind or review.api_version:
        wanted = f"{GROUP}/{version}, Kind=AdmissionReview"
        if (review.api_version, review.kind) != (f"{GROUP}/{version}", "AdmissionReview"):
            raise InvalidAnswer(f"expected webhook response of {wanted}, got {review.api_version}, Kind={review.kind}")
    if version == "v1":
        check_v1(response, uid, may_patch=may_patch)
    return response


def check_v1(response: AdmissionResponse, uid: str, *, may_patch: bool) -> None:
    if response.uid != uid:
        raise InvalidAnswer(f'expected response.uid="{uid}", got "{response.uid}"')
    if not may_patch:
        if response.patch is not None or response.patch_type is not None:
            raise InvalidAnswer("validating webhook may not return response.patch or response.patchType")
        return
    if response.patch is not None and response.patch_type is None:
        raise InvalidAnswer("webhook returned response.patch but not response.patchType")
    if response.patch is None and response.patch_type is not None:
        raise InvalidAnswer("webhook returned response.patchType but not response.patch")
    if response.patch_type not in (None, "JSONPatch"):
        raise InvalidAnswer(f'webhook returned invalid response.patchType of "{response.patch_type}"')


def patch_in(response: AdmissionResponse) -> Any:
    """The operations; None where nothing is to be changed."""
    if not response.patch:
        return None
    try:
        return untyped(base64.b64decode(response.patch, validate=True)) or None
    except (binascii.Error, msgspec.DecodeError, RecursionError) as error:
        raise InvalidAnswer(f"couldn't decode the patch: {error}") from None


def denial(name: str, response: AdmissionResponse) -> ApiError:
    """Upstream's: never a success, and always by whom."""
    found = response.status or Status()
    by = f'admission webhook "{name}" denied the request'
    said = found.message or found.reason
    message = f"{by}: {said}" if said else f"{by} without explanation"
    code = found.code if found.code in REFUSALS else BadRequest.code
    return Denied(msgspec.structs.replace(found, status="Failure", message=message, code=code))


class Denied(ApiError):
    """Told as the webhook told it: its own code, reason and details."""

    def __init__(self, status: Status) -> None:
        known = from_status(status)
        super().__init__(status.message or "", known.about, known.causes, known.retry_after_seconds)
        self.told = status
        self.code = status.code or BadRequest.code  # type: ignore[misc]
        self.reason = status.reason or ""  # type: ignore[misc]

    def status(self) -> Status:
        return self.told
