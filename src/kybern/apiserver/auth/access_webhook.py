"""Authorization by another server: it is sent a SubjectAccessReview, and says yes, no, or nothing.

Yes is remembered for five minutes, the rest for half a minute, unless configured otherwise. It may be asked about some
requests only. What it means that it does not answer is configured too: nothing, or no.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from kybern.aio.clock import Clock
from kybern.apiserver.auth.remote import TIMEOUT_SECONDS, NoAnswer, reviewed
from kybern.apiserver.auth.restrictions import told_fields, told_labels
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import Attributes, Decision
from kybern.web.client import Client

log = logging.getLogger(__name__)

QUESTION_BYTES_MAX = 10_000  # a longer one is asked each time, so that users cannot fill the memory with them


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    name: str = "webhook"
    allowed_seconds: float = 300.0
    refused_seconds: float = 30.0
    timeout_seconds: float = TIMEOUT_SECONDS
    failure_denies: bool = False
    concerns: Callable[[dict[str, Any]], Awaitable[bool]] | None = None
    """Whether it is asked about this; NoAnswer where that cannot be said."""


class AccessWebhook:
    def __init__(self, client: Client, path: str, clock: Clock, settings: AccessSettings = AccessSettings()) -> None:
        self.client = client
        self.path = path
        self.settings = settings
        self._verdicts: Verdicts[Decision] = Verdicts(clock, self._seconds)

    def _seconds(self, decision: Decision) -> float:
        return self.settings.allowed_seconds if decision.allowed else self.settings.refused_seconds

    async def ask(self, attributes: Attributes) -> Decision:
        spec = spec_of(attributes)
        try:
            if self.settings.concerns is not None and not await self.settings.concerns(spec):
                return Decision(False)
            encoded = msgspec.json.encode(spec)
            if len(encoded) > QUESTION_BYTES_MAX:
                return await self._ask(spec)
            return await self._verdicts.get(sha256(encoded).digest(), lambda: self._ask(spec))
        except (NoAnswer, TooManyQuestions) as error:
            log.warning("the webhook %s for authorization does not answer: %s", self.settings.name, error)
            return Decision(False, denied=self.settings.failure_denies)

    async def _ask(self, spec: dict[str, Any]) -> Decision:
        review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec}
        status = await reviewed(self.client, self.path, review, self.settings.timeout_seconds)
        denied = status.get("denied") is True
        allowed = status.get("allowed") is True and not denied
        return Decision(allowed, str(status.get("reason") or ""), denied)


def spec_of(a: Attributes) -> dict[str, Any]:
    asked: dict[str, Any] = {"user": a.user.name, "groups": list(a.user.groups)}
    if a.user.uid:
        asked["uid"] = a.user.uid
    if a.user.extra:
        asked["extra"] = {key: list(values) for key, values in a.user.extra.items()}
    if not a.is_resource:
        return asked | {"nonResourceAttributes": {"path": a.path, "verb": a.verb}}
    named: dict[str, Any] = {
        "namespace": a.namespace,
        "verb": a.verb,
        "group": a.group,
        "version": a.version,
        "resource": a.resource,
        "subresource": a.subresource,
        "name": a.name,
        "fieldSelector": a.fields and {"requirements": told_fields(a.fields)},
        "labelSelector": a.labels and {"requirements": told_labels(a.labels)},
    }
    return asked | {"resourceAttributes": {key: value for key, value in named.items() if value}}
