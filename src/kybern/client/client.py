"""The typed client: one coroutine for each verb of the API, from Structs to Structs.

- Every failure is an ApiError (`api.errors`).
- Data does no I/O: an object has no `delete()`, the client deletes it.
- `wrote` is told about every write, so that a control loop can wait until its View has seen it.
"""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Generic, Literal, TypeVar

import msgspec

from kybern.api.codec import decode, encode, from_builtins
from kybern.api.errors import ServiceUnavailable, Timeout, from_status
from kybern.api.kind import Kind
from kybern.api.meta_v1 import DeleteOptions, ListMeta, ObjectMeta, Preconditions, Status
from kybern.client.calls import JSON, call, failure, lines, read, send
from kybern.client.paths import kind_of, path_of, query_of
from kybern.client.transport import Transport
from kybern.web.http import Request

T = TypeVar("T")
R = TypeVar("R")

Found = list  # inside the class, `list` is the verb

PatchKind = Literal["merge", "strategic", "json", "apply"]

PATCH_TYPES: dict[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class WatchEvent(msgspec.Struct, Generic[T], frozen=True):
    type: str
    """ADDED, MODIFIED, DELETED or BOOKMARK."""
    object: T
    """Of a bookmark, its metadata only."""


UNKNOWN = -1
"""The revision of a write that was never answered: it may have been done."""


class Write(msgspec.Struct, frozen=True):
    """A write that the server has acknowledged, or has not answered. `revision` is 0 for an object that is gone at
    once."""

    type: type[Any]
    namespace: str
    name: str
    uid: str
    revision: int
    deleted: bool = False


class Meta(msgspec.Struct, frozen=True, gc=False):
    """The head of any object."""

    metadata: ObjectMeta = ObjectMeta()


METADATA_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"
METADATA = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"


class Page(msgspec.Struct, frozen=True, gc=False):
    """A list whose items are decoded later, as their own type."""

    items: tuple[msgspec.Raw, ...] | None = ()
    metadata: ListMeta = ListMeta()


class _Line(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _Marked(msgspec.Struct, frozen=True, gc=False):
    """A bookmark's object: how far the watch has come, without what the kind's objects must have."""

    metadata: ObjectMeta


class Client:
    def __init__(
        self,
        transport: Transport,
        *,
        user_agent: str = "kybern",
        field_manager: str = "",
        wrote: Callable[[Write], None] | None = None,
    ) -> None:
        self.transport = transport
        self.user_agent = user_agent
        self.field_manager = field_manager
        self._wrote = wrote

    def telling(self, wrote: Callable[[Write], None]) -> "Client":
        """The same client, whose writes are told to `wrote`."""
        return Client(self.transport, user_agent=self.user_agent, field_manager=self.field_manager, wrote=wrote)

    async def get(self, of: type[T], name: str, namespace: str = "") -> T:
        return decode(of, await self.request("GET", path_of(kind_of(of), namespace, name)))

    async def list(self, of: type[T], namespace: str | None = None, *, labels: str = "", fields: str = "") -> Found[T]:
        """All objects, of one namespace or of all."""
        query = query_of(labelSelector=labels, fieldSelector=fields)
        page = await self.page(kind_of(of), namespace or "", query)
        return [decode(of, item) for item in page.items or ()]

    async def create(self, obj: T, *, dry_run: bool = False) -> T:
        """`metadata.namespace` says where; `metadata.generateName` may stand for a name."""
        kind = kind_of(type(obj))
        query = query_of(fieldManager=self.field_manager, dryRun="All" if dry_run else "")
        with self._unanswered(type(obj)):
            body = await self.request("POST", path_of(kind, _meta(obj).namespace or ""), query, encode(obj))
        return self._told(decode(type(obj), body))

    async def update(self, obj: T, *, subresource: str = "") -> T:
        """Replace; Conflict when `metadata.resourceVersion` is set and no longer current."""
        meta = _meta(obj)
        path = path_of(kind_of(type(obj)), meta.namespace or "", meta.name or "", subresource)
        with self._unanswered(type(obj)):
            body = await self.request("PUT", path, query_of(fieldManager=self.field_manager), encode(obj))
        return self._told(decode(type(obj), body))

    async def update_status(self, obj: T) -> T:
        return await self.update(obj, subresource="status")

    async def patch(
        self,
        of: type[T],
        name: str,
        namespace: str,
        patch: Any,
        *,
        how: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> T:
        with self._unanswered(of):
            body = await self.patch_kind(kind_of(of), name, namespace, patch, how, subresource, field_manager, force)
        return self._told(decode(of, body))

    async def delete(
        self,
        of: type[Any],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_seconds: int | None = None,
        propagation: str = "",
    ) -> None:
        """With `uid`, Conflict unless it is still that object."""
        kind = kind_of(of)
        with self._unanswered(of):
            body = await self.delete_kind(
                kind, name, namespace, uid=uid, grace_seconds=grace_seconds, propagation=propagation
            )
        if self._wrote is not None:
            self._wrote(_deletion(of, namespace, name, uid, body))

    async def subresource(
        self, of: type[Any], name: str, namespace: str, subresource: str, body: Any, result_type: type[R]
    ) -> R:
        """POST to a subresource: binding, eviction, token."""
        path = path_of(kind_of(of), namespace, name, subresource)
        return decode(result_type, await self.request("POST", path, "", encode(body)))

    async def watch(
        self,
        of: type[T],
        namespace: str | None = None,
        *,
        resource_version: str = "",
        labels: str = "",
        fields: str = "",
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Changes after `resource_version`, until the server ends it. Expired when that is too long ago."""
        query = query_of(resourceVersion=resource_version, labelSelector=labels, fieldSelector=fields)
        async with aclosing(self.watch_batches(kind_of(of), namespace or "", query)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    # What the typed verbs, the reflector and the loops over all kinds are made of.

    async def request(
        self, method: str, path: str, query: str = "", body: bytes = b"", content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        return await call(self.transport, self._request(method, path, query, body, content_type, accept))

    async def page(self, kind: Kind, namespace: str, query: str, accept: str = JSON) -> Page:
        return decode(Page, await self.request("GET", path_of(kind, namespace), query, accept=accept))

    async def watch_batches(
        self, kind: Kind, namespace: str, query: str, accept: str = JSON
    ) -> AsyncGenerator[Sequence[WatchEvent[Any]], None]:
        """Events as they arrive, all of one piece of the stream together, decoded as `kind.type`."""
        query = f"watch=true&allowWatchBookmarks=true&{query}".rstrip("&")
        response = await send(self.transport, self._request("GET", path_of(kind, namespace), query, accept=accept))
        if response.status >= 400:
            raise failure(response, await read(response))
        async with aclosing(lines(response)) as found:
            async for batch in found:
                yield [_event(kind.type, line) for line in batch]

    async def patch_kind(
        self,
        kind: Kind,
        name: str,
        namespace: str,
        patch: Any,
        how: PatchKind = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> bytes:
        manager = field_manager or self.field_manager or ("kybern" if how == "apply" else "")
        query = query_of(fieldManager=manager, force=force)
        path = path_of(kind, namespace, name, subresource)
        return await self.request("PATCH", path, query, encode(patch), PATCH_TYPES[how])

    async def delete_kind(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        propagation: str = "",
    ) -> bytes:
        guarded = Preconditions(uid=uid or None, resource_version=resource_version or None)
        options = DeleteOptions(
            kind="DeleteOptions",
            api_version="v1",
            grace_period_seconds=grace_seconds,
            propagation_policy=propagation or None,
            preconditions=guarded if uid or resource_version else None,
        )
        return await self.request("DELETE", path_of(kind, namespace, name), "", encode(options))

    async def delete_collection(self, kind: Kind, namespace: str, *, propagation: str = "Background") -> None:
        """Everything of a kind in a namespace."""
        options = DeleteOptions(kind="DeleteOptions", api_version="v1", propagation_policy=propagation)
        await self.request("DELETE", path_of(kind, namespace), "", encode(options))

    def _request(
        self, method: str, path: str, query: str, body: bytes = b"", content_type: str = JSON, accept: str = JSON
    ) -> Request:
        headers = {"accept": accept, "user-agent": self.user_agent}
        if body:
            headers["content-type"] = content_type
        return Request(method, path, query, headers, body)

    @contextmanager
    def _unanswered(self, of: type[Any]) -> Iterator[None]:
        """A write that gets no answer is told of too."""
        try:
            yield
        except (ServiceUnavailable, Timeout):
            if self._wrote is not None:
                self._wrote(Write(of, "", "", "", UNKNOWN))
            raise

    def _told(self, obj: T) -> T:
        if self._wrote is not None:
            meta = _meta(obj)
            self._wrote(Write(type(obj), meta.namespace or "", meta.name or "", meta.uid or "", revision_of(meta)))
        return obj


def revision_of(meta: ObjectMeta | ListMeta) -> int:
    """The resource version as a number, 0 where there is none: kybern's and etcd's are both numbers in order."""
    text = meta.resource_version or ""
    return int(text) if text.isdecimal() else 0


def _meta(obj: Any) -> ObjectMeta:
    meta: ObjectMeta = obj.metadata
    return meta


def _event(wanted: type[Any], line: bytes) -> WatchEvent[Any]:
    raw = decode(_Line, line)
    if raw.type == "ERROR":
        raise from_status(decode(Status, raw.object))
    return WatchEvent(raw.type, decode(_Marked if raw.type == "BOOKMARK" else wanted, raw.object))


def _deletion(of: type[Any], namespace: str, name: str, uid: str, body: bytes) -> Write:
    """A server answers with the object while it is still there, else with a Status that may carry the uid."""
    answer = msgspec.json.decode(body)
    if answer.get("kind") == "Status":
        details = from_builtins(Status, answer).details
        return Write(of, namespace, name, uid or (details and details.uid) or "", 0, True)
    meta = from_builtins(Meta, {"metadata": answer.get("metadata") or {}}).metadata
    return Write(of, namespace, name, meta.uid or uid, revision_of(meta), True)
