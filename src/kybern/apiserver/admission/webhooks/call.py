"""Asking one webhook: the call, what becomes of its warnings and annotations, and what a failure means."""

from kybern.aio.beside import beside
from kybern.api.errors import ApiError, BadRequest, InternalError
from kybern.apiserver.admission.matching.versioned import Versioned
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.admission.webhooks.metrics import NO_ANSWER_CODE
from kybern.apiserver.admission.webhooks.review import (
    WARNING_LENGTH_MAX,
    AdmissionResponse,
    InvalidAnswer,
    answer,
    denial,
    question,
    version_for,
)
from kybern.apiserver.admission.webhooks.source import Hook
from kybern.apiserver.callouts.callouts import CalloutFailed
from kybern.apiserver.request import Admission

ANSWER_BYTES_MAX = 8 * 1024 * 1024
"""Of a patch that replaces the largest object, in base64."""
TIMEOUT_SECONDS_DEFAULT = 10


class CallFailed(Exception):
    """The webhook did not answer, or not to the question: whether that refuses the request is its failure policy's."""


async def ask(inputs: Inputs, hook: Hook, versioned: Versioned, *, may_patch: bool) -> AdmissionResponse:
    """The answer, where it allows; raises ApiError where it denies, CallFailed where there is none."""
    began, code, rejected = inputs.clock.monotonic(), 200, True
    try:
        response = await answered(inputs, hook, versioned, may_patch=may_patch)
        rejected = False
        return response
    except CallFailed:
        code, rejected = NO_ANSWER_CODE, not hook.fails_open
        raise
    except ApiError as error:
        code = error.code
        raise
    finally:
        kind, operation = ("admit" if may_patch else "validating"), versioned.admission.operation
        seconds = inputs.clock.monotonic() - began
        inputs.webhook_metrics.asked(hook.name, kind, operation, seconds, code, rejected=rejected)


async def answered(inputs: Inputs, hook: Hook, versioned: Versioned, *, may_patch: bool) -> AdmissionResponse:
    webhook, admission = hook.webhook, versioned.admission
    if admission.dry_run and webhook.side_effects not in ("None", "NoneOnDryRun"):
        raise unsupported_dry_run(hook)
    version = version_for(webhook)
    if version is None:
        raise CallFailed("webhook does not accept known AdmissionReview versions (v1, v1beta1)")
    uid = inputs.ids.uid()
    asked = await beside(lambda: question(versioned, uid, version), admission.is_long)
    try:
        body = await inputs.callouts.post(
            webhook.client_config,
            asked,
            timeout_seconds=webhook.timeout_seconds or TIMEOUT_SECONDS_DEFAULT,
            answer_bytes_max=ANSWER_BYTES_MAX,
        )
    except CalloutFailed as error:
        raise CallFailed(f"failed to call webhook: {error}") from error
    try:
        response = answer(body, uid, version, may_patch=may_patch)
    except InvalidAnswer as error:
        raise CallFailed(f"received invalid webhook response: {error}") from None
    admission.warnings += [warning[:WARNING_LENGTH_MAX] for warning in response.warnings or ()]
    for key, value in (response.audit_annotations or {}).items():
        admission.audit[f"{hook.name}/{key}"] = value
    if not response.allowed:
        raise denial(hook.name, response)
    return response


def unsupported_dry_run(hook: Hook) -> ApiError:
    return BadRequest(f'admission webhook "{hook.name}" does not support dry run')


def failure(hook: Hook, error: Exception) -> InternalError:
    return InternalError(f'Internal error occurred: failed calling webhook "{hook.name}": {error}')


def failed_open(inputs: Inputs, admission: Admission, phase: str, round_: int, index: int, hook: Hook) -> None:
    inputs.webhook_metrics.fails_open(hook.name, "admit" if phase == "mutation" else phase)
    admission.audit[f"failed-open.{phase}.webhook.admission.k8s.io/round_{round_}_index_{index}"] = hook.name
