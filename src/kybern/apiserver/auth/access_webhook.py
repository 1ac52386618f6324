"""Authorization by another server, for what nobody here allows: it is sent a SubjectAccessReview.

Yes is remembered for five minutes, no for half a minute. A server that does not answer allows nothing.
"""

import logging
from hashlib import sha256
from typing import Any

import msgspec

from kybern.aio.clock import Clock
from kybern.apiserver.auth.remote import NoAnswer, reviewed
from kybern.apiserver.auth.restrictions import told_fields, told_labels
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import Attributes, Decision
from kybern.web.client import Client

log = logging.getLogger(__name__)

ALLOWED_SECONDS, REFUSED_SECONDS = 300.0, 30.0  # upstream's
QUESTION_BYTES_MAX = 10_000  # a longer one is asked each time, so that users cannot fill the memory with them


class AccessWebhook:
    def __init__(self, client: Client, path: str, clock: Clock) -> None:
        self.client = client
        self.path = path
        self._verdicts: Verdicts[Decision] = Verdicts(
            clock, lambda decision: ALLOWED_SECONDS if decision.allowed else REFUSED_SECONDS
        )

    async def ask(self, attributes: Attributes) -> Decision:
        spec = spec_of(attributes)
        encoded = msgspec.json.encode(spec)
        try:
            if len(encoded) > QUESTION_BYTES_MAX:
                return await self._ask(spec)
            return await self._verdicts.get(sha256(encoded).digest(), lambda: self._ask(spec))
        except (NoAnswer, TooManyQuestions) as error:
            log.warning("the webhook for authorization does not answer: %s", error)
            return Decision(False)

    async def _ask(self, spec: dict[str, Any]) -> Decision:
        review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec}
        status = await reviewed(self.client, self.path, review)
        allowed = status.get("allowed") is True and status.get("denied") is not True
        return Decision(allowed, str(status.get("reason") or ""))


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
