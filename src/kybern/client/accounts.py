"""Requests in the name of a service account: each controller has one, and with it only the rights that it needs.

The token is asked for (TokenRequest) before the first request and again when most of its life is over; whoever asks
needs no more than the right to issue tokens. Upstream's kube-controller-manager does the same with
--use-service-account-credentials.
"""

import asyncio

from msgspec.structs import replace

from kybern.aio.clock import Clock, from_rfc3339
from kybern.api.authentication_v1 import TokenRequest, TokenRequestSpec
from kybern.api.core_v1 import ServiceAccount
from kybern.api.errors import AlreadyExists, NotFound
from kybern.api.meta_v1 import ObjectMeta
from kybern.client.client import Client
from kybern.client.transport import Transport
from kybern.web.http import Request, Response

TOKEN_SECONDS = 3600
RENEW_SHARE = 0.8  # of a token's life, as the kubelet does with its pods' tokens


class AccountTransport:
    """A `Transport` for one service account."""

    def __init__(self, transport: Transport, issuing: Client, name: str, namespace: str, clock: Clock) -> None:
        """`transport` shows no certificate, `issuing` may create the account and ask for its tokens."""
        self.transport, self.issuing, self.clock = transport, issuing, clock
        self.name, self.namespace = name, namespace
        self.token = ""
        self.renew_at = 0.0
        self.asking = asyncio.Lock()

    async def send(self, request: Request) -> Response:
        if self.clock.wall() >= self.renew_at:
            async with self.asking:
                if self.clock.wall() >= self.renew_at:
                    await self._renew()
        return await self.transport.send(
            replace(request, headers={**request.headers, "authorization": f"Bearer {self.token}"})
        )

    async def _renew(self) -> None:
        asked = self.clock.wall()
        try:
            issued = await self._ask()
        except NotFound:
            await self._create()
            issued = await self._ask()
        self.token = issued.status.token or ""
        ends = from_rfc3339(issued.status.expiration_timestamp or "")
        self.renew_at = asked + RENEW_SHARE * (ends - asked)

    async def _ask(self) -> TokenRequest:
        body = TokenRequest(spec=TokenRequestSpec(expiration_seconds=TOKEN_SECONDS))
        return await self.issuing.subresource(ServiceAccount, self.name, self.namespace, "token", body, TokenRequest)

    async def _create(self) -> None:
        try:
            await self.issuing.create(ServiceAccount(metadata=ObjectMeta(name=self.name, namespace=self.namespace)))
        except AlreadyExists:
            pass  # another process was faster
