"""ConfigMaps, Secrets and tokens as the pods of this node may read them: one GET for all who ask at the same time.

A pod that is new must see what its author wrote before creating it, so it names the moment before which no answer counts.
Whoever merely refreshes takes an answer of the last seconds.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from kybern.aio.clock import Clock, from_rfc3339
from kybern.api.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestSpec
from kybern.api.certificates_v1 import ClusterTrustBundle
from kybern.api.core_v1 import Pod, ServiceAccount
from kybern.api.errors import NotFound
from kybern.api.meta_v1 import LabelSelector
from kybern.api.selectors import of_label_selector
from kybern.client import Client
from kybern.volumes.pod_certificates import PodCertificates

T = TypeVar("T")

FRESH_SECONDS = 2.0  # all pods of a node are refreshed in one go
ASKED_AT_ONCE = 16  # all pods of a node are refreshed together, and each may have objects of its own
CACHED_OBJECTS_MAX = 4096  # beyond this the oldest answers are forgotten
TOKEN_RENEWED_AT_SHARE = 0.8
TOKEN_AGE_SECONDS_MAX = 24 * 3600.0


@dataclass(slots=True)
class _Answer:
    asked_at: float
    object: Any


@dataclass(frozen=True, slots=True)
class Token:
    text: str
    issued_at: float
    expires_at: float

    def is_due(self, now: float) -> bool:
        """Time for the next: at four fifths of its life, at the latest after a day."""
        life = self.expires_at - self.issued_at
        return now >= self.issued_at + min(life * TOKEN_RENEWED_AT_SHARE, TOKEN_AGE_SECONDS_MAX)


class Objects:
    def __init__(self, client: Client, clock: Clock) -> None:
        self.client, self.clock = client, clock
        self._answers: dict[tuple[type[Any], str, str], _Answer] = {}
        self._locks: WeakValueDictionary[tuple[type[Any], str, str], asyncio.Lock] = WeakValueDictionary()
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._tokens: dict[tuple[str, str, str, int], Token] = {}
        self.certificates = PodCertificates(client, clock)

    def now(self) -> float:
        """The clock that `not_before` is read from."""
        return self.clock.monotonic()

    async def get(self, of: type[T], namespace: str, name: str, not_before: float | None = None) -> T | None:
        """None where there is no such object."""
        key = (of, namespace, name)
        oldest = max(self.now() - FRESH_SECONDS, not_before or 0.0)
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._answers.get(key)
            if known is not None and known.asked_at >= oldest:
                return known.object  # type: ignore[no-any-return]
            async with self._asking:
                asked_at = self.now()
                try:
                    found: T | None = await self.client.get(of, name, namespace)
                except NotFound:
                    found = None
            self._remember(key, _Answer(asked_at, found))
            return found

    def _remember(self, key: tuple[type[Any], str, str], answer: _Answer) -> None:
        self._answers.pop(key, None)
        self._answers[key] = answer
        while len(self._answers) > CACHED_OBJECTS_MAX:
            del self._answers[next(iter(self._answers))]

    async def trust_bundles(self, signer: str, selector: LabelSelector | None) -> list[ClusterTrustBundle]:
        """Those of a signer. A selector that is not there selects nothing, an empty one everything."""
        if selector is None:
            return []
        found = await self.client.list(ClusterTrustBundle, fields=f"spec.signerName={signer}")
        chosen = of_label_selector(selector)
        return [bundle for bundle in found if chosen.matches(bundle.metadata.labels or {})]

    async def token(self, pod: Pod, audience: str, seconds: int) -> Token:
        """A token of the pod's service account, bound to the pod, renewed before it ends."""
        key = (pod.metadata.uid or "", pod.spec.service_account_name or "default", audience, seconds)
        known = self._tokens.get(key)
        if known is None or known.is_due(self.clock.wall()):
            known = self._tokens[key] = await self._request_token(pod, key[1], audience, seconds)
        return known

    async def _request_token(self, pod: Pod, account: str, audience: str, seconds: int) -> Token:
        bound = BoundObjectReference(kind="Pod", api_version="v1", name=pod.metadata.name, uid=pod.metadata.uid)
        spec = TokenRequestSpec(
            audiences=(audience,) if audience else None, expiration_seconds=seconds, bound_object_ref=bound
        )
        issued_at = self.clock.wall()
        namespace = pod.metadata.namespace or ""
        answer = await self.client.subresource(
            ServiceAccount, account, namespace, "token", TokenRequest(spec=spec), TokenRequest
        )
        expires = answer.status.expiration_timestamp
        return Token(answer.status.token or "", issued_at, from_rfc3339(expires) if expires else issued_at + seconds)

    def forget_pod(self, uid: str) -> None:
        for key in [key for key in self._tokens if key[0] == uid]:
            del self._tokens[key]
        self.certificates.forget_pod(uid)
