"""Written down: between knowing who asks and doing anything about it."""

from dataclasses import dataclass

from kybern.apiserver.audit.audit import Audit
from kybern.apiserver.request import ApiRequest, Layer
from kybern.web.http import Response


@dataclass(frozen=True, slots=True)
class AuditLayer:
    audit: Audit
    next: Layer

    async def __call__(self, request: ApiRequest) -> Response:
        self.audit.received(request)
        return await self.next(request)
