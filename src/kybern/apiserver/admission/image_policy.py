"""ImagePolicyWebhook: another server is asked whether a pod's images may be run, and its answer remembered for a while.

What it means that it does not answer is configured: nobody starts anything, or everybody may, and the audit log tells.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from kybern.api.core_v1 import Pod
from kybern.apiserver.admission.plugin import Inputs, Plugin, refused
from kybern.apiserver.auth.remote import NoAnswer, reviewed
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import Admission
from kybern.web.client import Client

log = logging.getLogger(__name__)

TRIES_MAX = 5
BACKOFF_FACTOR = 1.5
OWN_ANNOTATIONS = ".image-policy.k8s.io/"
AUDIT = f"imagepolicywebhook{OWN_ANNOTATIONS}"
FAILED_OPEN = f"{AUDIT}failed-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """Whom to ask, and what its answers are worth."""

    client: Client
    path: str
    allowed_seconds: float
    refused_seconds: float
    backoff_seconds: float
    default_allow: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    allowed: bool
    reason: str
    audit: Mapping[str, str]
    """What the audit log is to tell of it."""


class ImagePolicyWebhook(Plugin):
    name = "ImagePolicyWebhook"
    kinds = (Pod,)

    def __init__(self, inputs: Inputs) -> None:
        """ValueError where nobody is configured who could be asked."""
        super().__init__(inputs)
        policy = inputs.configuration.get(self.name)
        if not isinstance(policy, ImagePolicy):
            raise ValueError("the plugin ImagePolicyWebhook needs a configuration that names its server")
        self.policy = policy
        self._verdicts: Verdicts[Verdict] = Verdicts(inputs.clock, self._seconds)

    def _seconds(self, verdict: Verdict) -> float:
        return self.policy.allowed_seconds if verdict.allowed else self.policy.refused_seconds

    async def validate(self, admission: Admission) -> None:
        if admission.resource.kind.type is not Pod or admission.operation not in ("CREATE", "UPDATE"):
            return
        if admission.subresource not in ("", "ephemeralcontainers"):
            return
        spec = spec_of(admission)
        try:
            verdict = await self._verdicts.get(key_of(spec), lambda: self._ask(spec))
        except (NoAnswer, TooManyQuestions) as error:
            log.warning("the webhook for images does not answer: %s", error)
            if not self.policy.default_allow:
                raise refused(admission, str(error) or "too many images are being asked about") from None
            admission.audit[FAILED_OPEN] = "true"
            return
        for key, value in verdict.audit.items():
            admission.audit[f"{AUDIT}{key}"] = value
        if not verdict.allowed:
            told = f"image policy webhook backend denied one or more images: {verdict.reason}"
            raise refused(admission, told if verdict.reason else "one or more images rejected by webhook backend")

    async def _ask(self, spec: dict[str, Any]) -> Verdict:
        review = {"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {}, "spec": spec}
        wait = self.policy.backoff_seconds
        for _ in range(TRIES_MAX - 1):
            try:
                return verdict_of(await reviewed(self.policy.client, self.policy.path, review))
            except NoAnswer:
                await self.inputs.clock.sleep(wait)
                wait *= BACKOFF_FACTOR
        return verdict_of(await reviewed(self.policy.client, self.policy.path, review))


def verdict_of(status: dict[str, Any]) -> Verdict:
    told = status.get("auditAnnotations")
    audit = {key: str(value) for key, value in told.items()} if isinstance(told, dict) else {}
    return Verdict(status.get("allowed") is True, str(status.get("reason") or ""), audit)


def spec_of(admission: Admission) -> dict[str, Any]:
    pod: Pod = admission.object
    if admission.subresource:
        containers: tuple[Any, ...] = pod.spec.ephemeral_containers or ()
    else:
        containers = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    told = {key: value for key, value in (pod.metadata.annotations or {}).items() if OWN_ANNOTATIONS in key}
    spec: dict[str, Any] = {"containers": [{"image": one.image or ""} for one in containers]}
    return spec | ({"annotations": told} if told else {}) | {"namespace": admission.namespace}


def key_of(spec: dict[str, Any]) -> bytes:
    return sha256(msgspec.json.encode(spec, order="sorted")).digest()
