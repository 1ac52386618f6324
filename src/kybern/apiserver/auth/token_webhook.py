"""Tokens that another server knows: it is sent a TokenReview, and its verdict is remembered for a while."""

import logging
from typing import Any

import msgspec

from kybern.aio.clock import Clock
from kybern.api.authentication_v1 import UserInfo
from kybern.apiserver.auth.issuer import digest
from kybern.apiserver.auth.remote import NoAnswer, reviewed
from kybern.apiserver.auth.verdicts import TooManyQuestions, Verdicts
from kybern.apiserver.request import User
from kybern.web.client import Client

log = logging.getLogger(__name__)

VERDICT_SECONDS = 120.0  # upstream's --authentication-token-webhook-cache-ttl


class TokenWebhook:
    def __init__(
        self, client: Client, path: str, clock: Clock, audiences: tuple[str, ...], seconds: float = VERDICT_SECONDS
    ) -> None:
        self.client = client
        self.path = path
        self.audiences = audiences
        self._verdicts: Verdicts[User | None] = Verdicts(clock, lambda user: seconds)

    async def __call__(self, token: str) -> User | None:
        try:
            return await self._verdicts.get(digest(token), lambda: self._ask(token))
        except (NoAnswer, TooManyQuestions) as error:
            log.warning("the webhook for tokens does not answer: %s", error)
            return None

    async def _ask(self, token: str) -> User | None:
        spec = {"token": token, "audiences": list(self.audiences)}
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": spec}
        status = await reviewed(self.client, self.path, review)
        if status.get("authenticated") is not True:
            return None
        named = status.get("audiences") or self.audiences
        if not isinstance(named, list | tuple) or not set(named) & set(self.audiences):
            return None
        return user_in(status)


def user_in(status: dict[str, Any]) -> User | None:
    """None where it names nobody."""
    try:
        info = msgspec.convert(status.get("user") or {}, UserInfo)
    except msgspec.ValidationError as error:
        raise NoAnswer(str(error)) from None
    if not info.username:
        return None
    extra = {key: tuple(values) for key, values in (info.extra or {}).items()}
    return User(info.username, tuple(info.groups or ()), info.uid or "", extra)
