"""Who may ask a kubelet's server what: decided by the API server, as upstream's kubelet lets it decide.

A client certificate or a bearer token (TokenReview) says who it is, a SubjectAccessReview on the node says whether it
may. Answers are remembered for a while. Who holds the API server's own certificate needs no asking.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kybern.aio.clock import Clock
from kybern.api.authentication_v1 import TokenReview, TokenReviewSpec
from kybern.api.authorization_v1 import ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec
from kybern.api.errors import ApiError
from kybern.client import Client
from kybern.web.http import Request
from kybern.web.pki import Subject, subject_of

V = TypeVar("V")

TOKEN_SECONDS = 120.0
ALLOWED_SECONDS, DENIED_SECONDS = 300.0, 30.0
REMEMBERED_MAX = 1000
TOKEN_BYTES_MAX = 64 << 10
VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

# First part of the path -> what of the node is asked for; the finer name first, `nodes/proxy` is everything else.
SUBRESOURCES = {
    "stats": ("stats",),
    "metrics": ("metrics",),
    "logs": ("log",),
    "checkpoint": ("checkpoint",),
    "pods": ("pods", "proxy"),
    "runningpods": ("pods", "proxy"),
    "configz": ("configz", "proxy"),
    "healthz": ("healthz", "proxy"),
    "statusz": ("statusz",),
    "flagz": ("configz",),
}


@dataclass(frozen=True, slots=True)
class Asker:
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


class Remembered(Generic[V]):
    """Answers for a while, the oldest forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._known: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        until, found = self._known.get(key, (0.0, None))
        return found if until > self.clock.monotonic() else None

    def put(self, key: Hashable, value: V, seconds: float) -> None:
        self._known[key] = (self.clock.monotonic() + seconds, value)
        self._known.move_to_end(key)
        while len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)


class Access:
    def __init__(self, client: Client, node_name: str, clock: Clock) -> None:
        self.client, self.node_name = client, node_name
        self._tokens: Remembered[Asker] = Remembered(clock)
        self._decisions: Remembered[bool] = Remembered(clock)

    async def who(self, request: Request) -> Asker | None:
        """None where it does not say, or what it says is not true."""
        if request.peer.certificate is not None:
            subject = subject_of(request.peer.certificate)
            return Asker(subject.common_name, tuple(subject.organizations))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > TOKEN_BYTES_MAX:
            return None
        key = hashlib.sha256(token.encode()).digest()
        known = self._tokens.get(key)
        if known is None:
            known = await self._review(token)
            if known is not None:
                self._tokens.put(key, known, TOKEN_SECONDS)
        return known

    async def _review(self, token: str) -> Asker | None:
        try:
            found = await self.client.create(TokenReview(spec=TokenReviewSpec(token=token)))
        except ApiError:
            return None
        user = found.status.user
        if not found.status.authenticated or user is None:
            return None
        return Asker(user.username or "", tuple(user.groups or ()), user.uid or "")

    async def may(self, asker: Asker, request: Request, first: str) -> str:
        """Why not; empty where it may."""
        if is_api_server(Subject(asker.name, asker.groups)):
            return ""
        verb = VERBS.get(request.method, "")
        subresources = SUBRESOURCES.get(first, ("proxy",))
        for subresource in subresources:
            if await self._decide(asker, verb, subresource):
                return ""
        named = f"verb={verb}, resource=nodes, subresource(s)=[{' '.join(subresources)}]"
        return f"Forbidden (user={asker.name}, {named})"

    async def _decide(self, asker: Asker, verb: str, subresource: str) -> bool:
        key = (asker, verb, subresource)
        known = self._decisions.get(key)
        if known is None:
            known = await self._ask(asker, verb, subresource)
            self._decisions.put(key, known, ALLOWED_SECONDS if known else DENIED_SECONDS)
        return known

    async def _ask(self, asker: Asker, verb: str, subresource: str) -> bool:
        wanted = ResourceAttributes(
            verb=verb, version="v1", resource="nodes", subresource=subresource, name=self.node_name
        )
        spec = SubjectAccessReviewSpec(
            user=asker.name, groups=asker.groups, uid=asker.uid or None, resource_attributes=wanted
        )
        try:
            found = await self.client.create(SubjectAccessReview(spec=spec))
        except ApiError:
            return False
        return found.status.allowed


def is_api_server(subject: Subject) -> bool:
    """Upstream's client certificate of the API server, or an administrator's."""
    return subject.common_name == "kube-apiserver-kubelet-client" or "system:masters" in subject.organizations
