"""GET of a collection: the cache's bytes, or what is made of them, joined; others get their turn while a long one is made."""

from operator import attrgetter
from typing import Any

from kybern.api.errors import BadRequest, Expired
from kybern.apiserver.binary import PROTOBUF, listed
from kybern.apiserver.cache import Page
from kybern.apiserver.formats import PROTOBUF_HEADERS, Format, answer, format_for
from kybern.apiserver.item import Item
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Params, one, whole_number
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.selection import Selection, selection_of
from kybern.apiserver.storage import Storage
from kybern.apiserver.tables import INCLUDES, TAIL, Printer, partial, table_of_all
from kybern.apiserver.turns import in_turns
from kybern.apiserver.verbs.continuing import INCONSISTENT, ContinueExpired, read_token, token_for
from kybern.apiserver.verbs.shown import pretty
from kybern.apiserver.verbs.versions import NEWEST, check_not_future, wanted_version
from kybern.web.http import Joined, Response


async def list_objects(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    params = request.params
    format_ = format_for(storage.resource.kind, request.http.headers.get("accept", ""))
    selection = selected(storage, request)
    if not params:
        page = await storage.cache.page(selection)
    else:
        page = await page_for(machine, storage, selection, params)
    token = token_for(page.revision, storage.cache.prefix, page.next) if page.next else ""
    if format_.media == PROTOBUF:
        served = await in_turns(Item.sent, page.items)
        pieces = await listed(
            storage.resource.kind, list_meta(page, token), served, metadata_only=bool(format_.transform)
        )
        return Response(200, PROTOBUF_HEADERS, pieces)
    if format_.transform:
        return answer(await transformed(machine, storage, page, token, format_, include_of(params)), format_)
    return answer(await joined(storage, page, token), format_, pretty=pretty(request))


def selected(storage: Storage, request: ApiRequest) -> Selection:
    params, namespace = request.params, request.attributes.namespace
    if not params:
        return Selection(storage.resource, namespace)
    labels, fields = one(params, "labelSelector"), one(params, "fieldSelector")
    return selection_of(storage.resource, namespace, labels, fields)


async def page_for(machine: Machine, storage: Storage, selection: Selection, params: Params) -> Page:
    limit = max(0, whole_number(params, "limit") or 0)
    whole_number(params, "timeoutSeconds")
    token = one(params, "continue")
    if one(params, "resourceVersion") == "0" and not token:
        limit = 0  # upstream's watch cache answers what any version will do for as a whole
    wanted = wanted_version(params, limit, bool(token))
    if token:
        return await next_page(storage, selection, token, limit)
    if wanted != NEWEST:
        await check_not_future(machine, storage.cache, wanted.at or wanted.not_older_than)
    return await storage.cache.page(selection, at=wanted.at, limit=limit)


async def next_page(storage: Storage, selection: Selection, token: str, limit: int) -> Page:
    revision, after = read_token(token, storage.cache.prefix)
    if revision == INCONSISTENT:
        return await storage.cache.page(selection, after=after, limit=limit)
    if revision < storage.cache.oldest:
        raise ContinueExpired(token_for(INCONSISTENT, storage.cache.prefix, after))
    try:
        return await storage.cache.page(selection, at=revision, after=after, limit=limit)
    except Expired:
        raise ContinueExpired(token_for(INCONSISTENT, storage.cache.prefix, after)) from None


async def joined(storage: Storage, page: Page, token: str) -> Joined:
    kind = storage.resource.kind
    head = head_of(kind.list_kind, kind.api_version, page, token)
    return Joined(head, await in_turns(attrgetter("served"), page.items), b",", b"]}\n")


async def transformed(
    machine: Machine, storage: Storage, page: Page, token: str, format_: Format, include: str
) -> Joined:
    if format_.transform == "Table":
        printer = Printer(storage.resource, format_.version, machine.clock.wall(), include)
        return await table_of_all(printer, page.items, list_meta(page, token))
    head = head_of("PartialObjectMetadataList", f"meta.k8s.io/{format_.version}", page, token)
    return Joined(head, await in_turns(lambda item: partial(item.sent(), format_.version), page.items), b",", TAIL)


def head_of(kind: str, api_version: str, page: Page, token: str) -> bytes:
    more = f',"continue":"{token}"' if token else ""
    if page.remaining is not None:
        more += f',"remainingItemCount":{page.remaining}'
    metadata = f'{{"resourceVersion":"{page.revision}"{more}}}'
    return f'{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":['.encode()


def list_meta(page: Page, token: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if token:
        meta["continue"] = token
    if page.remaining is not None:
        meta["remainingItemCount"] = page.remaining
    return meta


def include_of(params: Params) -> str:
    """How much of each object a table's rows carry."""
    include = one(params, "includeObject") or "Metadata"
    if include not in INCLUDES:
        why = "must be 'Metadata', 'Object', 'None', or empty"
        raise BadRequest(f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": {why}')
    return include
