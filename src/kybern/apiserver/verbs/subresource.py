"""A part of an object with its own address: read, replaced and patched through the object's rules for that part."""

from kybern.aio.beside import beside
from kybern.api.codec import decode, encode
from kybern.api.errors import MethodNotAllowed, not_found
from kybern.api.kind import Kind
from kybern.api.meta_v1 import Status
from kybern.apiserver.body import media_type, sent_bytes, sent_object
from kybern.apiserver.connect import Creator
from kybern.apiserver.formats import Format, answer, format_for
from kybern.apiserver.machine import Machine, admit, reserved, validate
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.apply import APPLY_TYPES, applied, apply
from kybern.apiserver.verbs.create import in_namespace
from kybern.apiserver.verbs.patch import check_version, patched, patcher
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.verbs.update import check_name, check_preconditions, check_version_told
from kybern.apiserver.writes import Written, admission_for, rewrite
from kybern.registry.resource import Obj, Resource, Subresource
from kybern.store.interface import Entry
from kybern.web.http import Response

NOT_ALLOWED = "the server does not allow this method on the requested resource"


async def read(machine: Machine, storage: Storage, sub: Subresource, request: ApiRequest) -> Response:
    at = request.attributes
    item = await storage.item(at.namespace, at.name)
    if item is None:
        raise not_found(storage.about(at.name))
    format_ = format_for(kind_of(storage, sub), request.http.headers.get("accept", ""))
    if sub.kind is None:
        return answer(shown(storage.resource, item.served, format_, machine.clock), format_)
    entry = Entry(item.key, item.value, item.created, item.revision)
    return part_answer(machine, sub, await storage.load(entry), format_)


async def replace(machine: Machine, storage: Storage, sub: Subresource, request: ApiRequest) -> Response:
    http, at = request.http, request.attributes
    format_ = format_for(kind_of(storage, sub), http.headers.get("accept", ""))
    writing = writing_of(request, "UpdateOptions")
    writing.subresource = sub.name
    sent = await sent_object(http, kind_of(storage, sub), writing)
    check_name(sent, at.name, at.namespace)

    def change(old: Obj) -> Obj:
        if sub.kind is None:
            check_version_told(storage, at.name, sent)
        check_preconditions(storage, at.name, meta_of(sent), old)
        return put_back(sub, old, sent)

    written = await rewrite(machine, storage, at.namespace, at.name, change, writing, check=sub.validate)
    return written_answer(machine, storage, sub, written, format_)


async def patch(machine: Machine, storage: Storage, sub: Subresource, request: ApiRequest) -> Response:
    http, at = request.http, request.attributes
    media = media_type(http)
    if media in APPLY_TYPES and sub.replicas:
        written, format_ = await applied(machine, storage, request, sub)
        return written_answer(machine, storage, sub, written, format_)
    if media in APPLY_TYPES and sub.kind is None:
        return await apply(machine, storage, request, sub)
    format_ = format_for(kind_of(storage, sub), http.headers.get("accept", ""))
    writing = writing_of(request, "PatchOptions")
    writing.subresource = sub.name
    kind = kind_of(storage, sub)
    body = await sent_bytes(http, writing)
    change_by = await beside(lambda: patcher(media, body, kind, writing), writing.is_long)

    def change(old: Obj) -> Obj:
        part = sub.read(old) if sub.read else old
        sent = patched(part, change_by, kind, writing)
        if sub.kind is None:
            check_version_told(storage, at.name, sent)
        check_version(storage, at.name, sent, old)
        return put_back(sub, old, sent)

    written = await rewrite(machine, storage, at.namespace, at.name, change, writing, check=sub.validate)
    return written_answer(machine, storage, sub, written, format_)


async def post(
    machine: Machine, storage: Storage, sub: Subresource, request: ApiRequest, creator: Creator | None
) -> Response:
    """A body that does something to the object: a creator's business, or the resource's own rule."""
    http, at = request.http, request.attributes
    format_ = format_for(kind_of(storage, sub), http.headers.get("accept", ""), ())
    writing = writing_of(request, "CreateOptions")
    writing.subresource = sub.name
    sent = await sent_object(http, kind_of(storage, sub), writing)
    if meta_of(sent).name:
        check_name(sent, at.name, at.namespace)
    sent = changed_meta(in_namespace(sent, at.namespace), name=at.name, creation_timestamp=machine.now())
    if creator is not None:
        admission = admission_for(storage, writing, "CREATE", at.namespace, at.name, sent, None)
        with reserved(machine, admission) as outcome:
            await admit(machine, admission)
            await validate(machine, admission)
            made = await creator(admission.object, request)
            outcome.written = not writing.dry_run
        return answer(encode(made), format_, 201)
    writing.posted = sent
    await rewrite(
        machine, storage, at.namespace, at.name, lambda old: put_back(sub, old, sent), writing, check=sub.validate
    )
    return answer(encode(Status(status="Success", code=201)), format_, 201)


def kind_of(storage: Storage, sub: Subresource) -> Kind:
    return sub.kind or storage.resource.kind


def put_back(sub: Subresource, old: Obj, sent: Obj) -> Obj:
    if sub.write is None:
        raise MethodNotAllowed(NOT_ALLOWED)
    return sub.write(old, sent)


def written_answer(machine: Machine, storage: Storage, sub: Subresource, written: Written, format_: Format) -> Response:
    if sub.kind is None:
        return answer(shown(storage.resource, written.served, format_, machine.clock), format_)
    return part_answer(machine, sub, decode(storage.resource.kind.type, written.served), format_)


def part_answer(machine: Machine, sub: Subresource, obj: Obj, format_: Format) -> Response:
    if sub.read is None or sub.kind is None:
        raise MethodNotAllowed(NOT_ALLOWED)
    printed_as = Resource(kind=sub.kind, columns=sub.columns)
    return answer(shown(printed_as, encode(sub.read(obj)), format_, machine.clock), format_)
