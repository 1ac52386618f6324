"""A registry over HTTP (OCI distribution spec): manifests and blobs, with tokens, redirects and nobody's word believed.

- Plain HTTP only to loopback and where `hosts.toml` says so.
- Credentials go to the registry and to its token service, never along a redirect to another host.
- A registry elsewhere cannot send us to this machine or to link-local addresses.
"""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit

from msgspec.structs import replace

from kybern.aio.timeouts import timeout
from kybern.runtime.cri import AuthConfig
from kybern.runtime.images.hosts import Host, own_host
from kybern.runtime.images.manifest import INDEX_TYPES, MANIFEST_BYTES_MAX, MANIFEST_TYPES, BadImage
from kybern.runtime.images.reference import Reference
from kybern.web.addresses import names_own
from kybern.web.client import Client, ClientError
from kybern.web.http import Request, Response
from kybern.web.tls import client_context

REDIRECTS_MAX = 10
TOKEN_BYTES_MAX = 1 << 20
SILENCE_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 1024  # over the whole of a blob, after a fair start
FAIR_START_SECONDS = 30.0
ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
CHALLENGE_FIELD = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
REDIRECTS = (301, 302, 303, 307, 308)


class RegistryError(Exception):
    """The registry did not give what was asked for; the message is for the user."""


class NotFound(RegistryError):
    pass


@dataclass(frozen=True, slots=True)
class Answer:
    response: Response
    method: str
    url: str


class Registry:
    """One repository of one registry, or of a mirror of it, for one pull."""

    def __init__(self, reference: Reference, auth: AuthConfig | None, host: Host | None = None) -> None:
        own = own_host(reference.domain)
        self.host = host or own
        self.local = names_own(urlsplit(self.host.url).hostname or "")
        self.plain = self.host.url.startswith("http:")
        self.whose = "" if self.host.url == own.url else f"?{urlencode({'ns': reference.domain})}"
        """For a mirror of many registries."""
        self.reference, self.auth = reference, auth
        self.authorization = ""
        self.clients: dict[str, Client] = {}

    def close(self) -> None:
        for client in self.clients.values():
            client.close()

    async def manifest(self, asked: str) -> tuple[bytes, str]:
        """Its bytes and the media type that was announced."""
        path = f"/v2/{self.reference.path}/manifests/{asked}{self.whose}"
        answer = await self._ask("GET", path, {"accept": ACCEPT})
        await self._expect(answer, (200,), asked)
        body = await read_at_most(answer.response, MANIFEST_BYTES_MAX)
        return body, answer.response.headers.get("content-type", "")

    async def blob(self, digest: str, offset: int) -> tuple[bool, AsyncIterator[bytes]]:
        """Its bytes from `offset` on, where the registry can; says whether it did."""
        headers = {"accept": "*/*"} | ({"range": f"bytes={offset}-"} if offset else {})
        answer = await self._ask("GET", f"/v2/{self.reference.path}/blobs/{digest}{self.whose}", headers)
        await self._expect(answer, (200, 206), digest)
        return answer.response.status == 206, paced(answer.response)

    async def has_blob(self, digest: str) -> bool:
        answer = await self._ask("HEAD", f"/v2/{self.reference.path}/blobs/{digest}", {})
        await discard(answer.response)
        return answer.response.status == 200

    async def begin_upload(self) -> str:
        """The address that the pieces of a blob are sent to."""
        answer = await self._ask("POST", f"/v2/{self.reference.path}/blobs/uploads/", {})
        return await self._location(answer, (202,))

    async def send_piece(self, address: str, offset: int, data: bytes) -> str:
        """The address for the next piece."""
        headers = {
            "content-type": "application/octet-stream",
            "content-range": f"{offset}-{offset + len(data) - 1}",
        }
        return await self._location(await self._ask("PATCH", address, headers, data), (202,))

    async def finish_upload(self, address: str, digest: str) -> None:
        separator = "&" if urlsplit(address).query else "?"
        answer = await self._ask("PUT", f"{address}{separator}{urlencode({'digest': digest})}", {})
        await self._expect(answer, (201,), digest)
        await discard(answer.response)

    async def put_manifest(self, name: str, media_type: str, body: bytes) -> None:
        path = f"/v2/{self.reference.path}/manifests/{name}"
        answer = await self._ask("PUT", path, {"content-type": media_type}, body)
        await self._expect(answer, (201,), name)
        await discard(answer.response)

    async def _location(self, answer: Answer, statuses: tuple[int, ...]) -> str:
        await self._expect(answer, statuses, "an upload")
        await discard(answer.response)
        return self._checked(urljoin(answer.url, answer.response.headers.get("location", "")))

    async def _expect(self, answer: Answer, statuses: tuple[int, ...], asked: str) -> None:
        status = answer.response.status
        if status in statuses:
            return
        await discard(answer.response)
        name = self.reference.name
        if status == 404:
            raise NotFound(f"{name}: not found")
        if status in (401, 403):
            raise RegistryError(
                f"{'pull' if answer.method in ('GET', 'HEAD') else 'push'} access denied, repository does not exist or "
                f"may require authorization: server answered {status} for {asked}"
            )
        raise RegistryError(f"unexpected status from {answer.method} request to {answer.url}: {status}")

    async def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """With one attempt at authentication. `path` may be a whole address that the registry gave."""
        request = Request(method, "", "", headers, body)
        url = urljoin(self.host.url, path)
        answer = await self._follow(url, request)
        if answer.response.status != 401:
            return answer
        challenge = answer.response.headers.get("www-authenticate", "")
        await discard(answer.response)
        self.authorization = await self._authorize(challenge)
        return await self._follow(url, request)

    async def _follow(self, url: str, request: Request) -> Answer:
        origin = urlsplit(url).netloc
        for _ in range(REDIRECTS_MAX):
            own = dict(request.headers)
            if self.authorization and urlsplit(url).netloc == origin:
                own["authorization"] = self.authorization
            answer = await self._send(url, replace(request, headers=own))
            if answer.response.status not in REDIRECTS:
                return answer
            await discard(answer.response)
            url = self._checked(urljoin(url, answer.response.headers.get("location", "")))
        raise RegistryError(f"stopped after {REDIRECTS_MAX} redirects")

    def _checked(self, url: str) -> str:
        """May a registry send us there?"""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RegistryError("the registry redirects to something that is no HTTP address")
        if parts.scheme == "http" and not self.plain:
            raise RegistryError(f"the registry redirects to plain HTTP at {parts.hostname}")
        if not self.local and names_own(parts.hostname):
            raise RegistryError(f"the registry redirects to {parts.hostname}, which is this machine's own")
        return url

    async def _send(self, url: str, request: Request) -> Answer:
        parts = urlsplit(url)
        base = f"{parts.scheme}://{parts.netloc}"
        try:
            client = await self._client(base)
            response = await client.send(replace(request, path=parts.path or "/", query=parts.query))
        except (ClientError, ValueError) as error:
            verb = request.method.capitalize()
            raise RegistryError(f'failed to do request: {verb} "{url}": {error}') from error
        return Answer(response, request.method, url)

    async def _client(self, base: str) -> Client:
        if base not in self.clients:
            tls = await asyncio.to_thread(self._tls, base) if base.startswith("https:") else None
            self.clients.setdefault(base, Client(base, ssl=tls, response_seconds=SILENCE_SECONDS))
        return self.clients[base]

    def _tls(self, base: str) -> ssl.SSLContext:
        """Where a registry sends us to, its own settings do not hold. Reading the machine's authorities takes a moment."""
        if base != self.host.url:
            return client_context()
        return client_context(ca=self.host.ca, verify=self.host.verify)

    async def _authorize(self, challenge: str) -> str:
        """What to send, by the registry's challenge (RFC 7235; bearer tokens as docker registries do them)."""
        auth = self.auth or AuthConfig()
        if auth.registry_token:
            return f"Bearer {auth.registry_token}"
        scheme, _, rest = challenge.partition(" ")
        basic = basic_of(auth)
        if scheme.lower() == "basic" and basic:
            return basic
        if scheme.lower() != "bearer":
            raise RegistryError("pull access denied, repository does not exist or may require authorization")
        fields = dict(CHALLENGE_FIELD.findall(rest))
        realm = self._checked(fields.get("realm", ""))
        query = {"scope": fields.get("scope") or f"repository:{self.reference.path}:pull"}
        if "service" in fields:
            query["service"] = fields["service"]
        separator = "&" if urlsplit(realm).query else "?"
        asked = Request("GET", "", "", {"authorization": basic} if basic else {})
        answer = await self._send(f"{realm}{separator}{urlencode(query)}", asked)
        body = await read_at_most(answer.response, TOKEN_BYTES_MAX)
        if answer.response.status != 200:
            raise RegistryError(
                f"failed to authorize: failed to fetch token: unexpected status: {answer.response.status}"
            )
        return f"Bearer {token_in(body)}"


def basic_of(auth: AuthConfig) -> str:
    if not auth.username:
        return ""
    return "Basic " + base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()


def token_in(body: bytes) -> str:
    try:
        found = json.loads(body)
        token = found.get("token") or found.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token.isprintable():
        raise RegistryError("failed to authorize: the token service gave no token")
    return token


async def read_at_most(response: Response, bytes_max: int) -> bytes:
    pieces, size = [], 0
    async for piece in paced(response):
        size += len(piece)
        if size > bytes_max:
            raise BadImage(f"answer is longer than {bytes_max} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def paced(response: Response) -> AsyncIterator[bytes]:
    """The body, as long as it keeps coming at a speed that will end."""
    if isinstance(response.body, bytes):
        yield response.body
        return
    if not isinstance(response.body, AsyncIterator):
        yield b"".join(response.body)
        return
    begun, size, body = time.monotonic(), 0, response.body
    try:
        while True:
            try:
                async with timeout(SILENCE_SECONDS):
                    piece = await anext(body, None)
            except TimeoutError:
                raise RegistryError("the registry stopped sending") from None
            except ClientError as error:
                raise RegistryError(f"the connection was lost: {error}") from error
            if piece is None:
                return
            size += len(piece)
            seconds = time.monotonic() - begun
            if seconds > FAIR_START_SECONDS and size < seconds * SLOWEST_BYTES_PER_SECOND:
                raise RegistryError("the registry sends too slowly")
            yield piece
    finally:
        await discard(response)


async def discard(response: Response) -> None:
    """Let go of a body that is not read to its end."""
    close = getattr(response.body, "aclose", None)
    if close is not None:
        await close()
