"""The keys of an outside issuer: fetched over HTTPS when the first token comes, kept, and fetched again for one that is
not known, but not more often than every few seconds.

They may be on another server than the issuer, but not on this machine or its link unless the issuer that is configured is
there itself.
Redirects are not followed.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import jwt

from kybern.aio.clock import Clock
from kybern.web.addresses import names_own
from kybern.web.client import Client, ClientError
from kybern.web.http import Request

DOCUMENT_BYTES_MAX = 1024 * 1024
REFRESH_SECONDS = 10.0  # between two times that the keys are fetched, whatever tokens arrive
DISCOVERY = "/.well-known/openid-configuration"

Connect = Callable[[str], Client]
"""Makes a client for a server, given as `https://host:port`."""


class IssuerKeys:
    def __init__(
        self, url: str, connect: Connect, clock: Clock, *, discovery_url: str = "", configured: str = ""
    ) -> None:
        """`configured` is the issuer of our settings, where it was that one which named this."""
        self.url = url
        self.configured = configured or url
        self.discovery = discovery_url or url.rstrip("/") + DISCOVERY
        self.connect = connect
        self.clock = clock
        self.keys: dict[str, Any] = {}
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()

    async def of(self, token: str) -> Any:
        """The key that signed it. LookupError where the issuer has no such key."""
        name = jwt.get_unverified_header(token).get("kid", "")
        if name not in self.keys:
            async with self._fetching:
                if name not in self.keys and self.clock.monotonic() - self._fetched >= REFRESH_SECONDS:
                    self._fetched = self.clock.monotonic()
                    self.keys = await self._fetch()
        return self.keys[name] if name or len(self.keys) != 1 else next(iter(self.keys.values()))

    async def _fetch(self) -> dict[str, Any]:
        document = await self._document(self.discovery)
        if document.get("issuer") != self.url:
            raise LookupError(f"{self.discovery} is of the issuer {document.get('issuer')!r}")
        found = jwt.PyJWKSet.from_dict(await self._document(str(document.get("jwks_uri"))))
        return {key.key_id or "": key for key in found.keys if key.public_key_use in (None, "sig")}

    async def _document(self, url: str) -> dict[str, Any]:
        document = json.loads(await fetched(self.connect, url, self.configured, {"accept": "application/json"}))
        if not isinstance(document, dict):
            raise LookupError(f"{url} is no JSON object")
        return document


async def fetched(connect: Connect, url: str, configured: str, headers: Mapping[str, str]) -> bytes:
    """What is there. LookupError where it cannot be had: the token cannot be judged now."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" or (names_own(host) and host != urlsplit(configured).hostname):
        raise LookupError(f"{url} is no place for an issuer's documents")
    try:
        async with connect(f"https://{parts.netloc}") as client:
            response = await client.send(Request("GET", parts.path or "/", parts.query, dict(headers)))
            body = await response.read(DOCUMENT_BYTES_MAX)
    except ClientError as error:
        raise LookupError(str(error)) from None
    if response.status != 200:
        raise LookupError(f"{url} answered {response.status}")
    return body
