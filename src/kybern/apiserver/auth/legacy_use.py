"""When the service-account tokens of old were last used: a label on their Secrets, with the date (KEP-2799).

- A request notes the use and does not wait; `run()` writes what was noted, a Secret once a day.
- The ConfigMap `kube-apiserver-legacy-service-account-token-tracking` says since when uses are noted: whoever wants to
  delete unused tokens has to know.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from msgspec.structs import replace

from kybern.aio.clock import Clock
from kybern.api.core_v1 import ConfigMap, Secret
from kybern.api.errors import ApiError
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.request import Objects

TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
SINCE = "since"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
NOTED_MAX = 1000  # Secrets that wait to be written; the next use of one more is noted then

log = logging.getLogger(__name__)

Key = tuple[str, str]


@dataclass(slots=True)
class LegacyTokenUse:
    objects: Objects
    clock: Clock
    noted: dict[Key, None] = field(default_factory=dict)
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def today(self) -> str:
        return datetime.fromtimestamp(self.clock.wall(), UTC).date().isoformat()

    def note(self, secret: Secret) -> None:
        meta = secret.metadata
        if (meta.labels or {}).get(LAST_USED) != self.today() and len(self.noted) < NOTED_MAX:
            self.noted[meta.namespace or "", meta.name or ""] = None
            self.woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.begin()
                while self.noted:
                    await self.write(next(iter(self.noted)))
            except ApiError as error:
                log.info("the use of a token could not be noted: %s", error.message)
            self.woken.clear()
            await self.woken.wait()

    async def begin(self) -> None:
        found = self.objects.get(ConfigMap, TRACKING, "kube-system")
        if found is None:
            meta = ObjectMeta(name=TRACKING, namespace="kube-system")
            await self.objects.create(ConfigMap(metadata=meta, data={SINCE: self.today()}))
        elif not is_date((found.data or {}).get(SINCE, "")):
            await self.objects.update(replace(found, data={**(found.data or {}), SINCE: self.today()}))

    async def write(self, key: Key) -> None:
        del self.noted[key]
        namespace, name = key
        secret = self.objects.get(Secret, name, namespace)
        if secret is None:
            return
        labels = {**(secret.metadata.labels or {}), LAST_USED: self.today()}
        await self.objects.update(replace(secret, metadata=replace(secret.metadata, labels=labels)))


def is_date(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False
