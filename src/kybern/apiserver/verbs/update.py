"""PUT of an object: all of it, as it shall be."""

from typing import Any

from msgspec.structs import replace

from kybern.api.errors import MODIFIED, About, BadRequest, Conflict, InternalError, conflict, invalid
from kybern.api.invalid import invalid_value
from kybern.apiserver.auth.authorizers import decided
from kybern.apiserver.auth.denial import forbidden_request
from kybern.apiserver.body import sent_object
from kybern.apiserver.formats import answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.writes import Written, create_once, rewrite
from kybern.registry.resource import Obj
from kybern.web.http import Response


async def update(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    http, at = request.http, request.attributes
    format_ = format_for(storage.resource.kind, http.headers.get("accept", ""))
    writing = writing_of(request, "UpdateOptions")
    sent = await sent_object(http, storage.resource.kind, writing)
    check_name(sent, at.name, at.namespace)
    sent_meta = meta_of(sent)

    async def absent() -> Written:
        if sent_meta.uid or sent_meta.resource_version:
            wrong = "UID in precondition" if sent_meta.uid else "ResourceVersion in precondition"
            given = sent_meta.uid or sent_meta.resource_version
            raise conflict(storage.about(at.name), f"Precondition failed: {wrong}: {given}, UID in object meta: ")
        await check_may_create(request)
        new = changed_meta(sent, namespace=at.namespace or None)
        return await create_once(machine, storage, new, at.namespace, writing)

    def change(old: Obj) -> Obj:
        check_version_told(storage, at.name, sent)
        check_preconditions(storage, at.name, sent_meta, old)
        return sent

    creates = storage.resource.create_on_update
    written = await rewrite(machine, storage, at.namespace, at.name, change, writing, absent if creates else None)
    body_out = shown(storage.resource, written.served, format_, machine.clock)
    return answer(body_out, format_, 201 if written.created else 200)


def check_name(sent: Obj, name: str, namespace: str) -> None:
    meta = meta_of(sent)
    if not meta.name:
        raise BadRequest("the name of the object (based on URL) was undeterminable: name must be provided")
    if meta.name != name:
        raise BadRequest(f"the name of the object ({meta.name}) does not match the name on the URL ({name})")
    if meta.namespace and namespace and meta.namespace != namespace:
        raise BadRequest(
            f"the namespace of the object ({meta.namespace}) does not match the namespace on the request ({namespace})"
        )


async def check_may_create(request: ApiRequest) -> None:
    """Who may change an object need not be allowed to make one: asked where there is none to change."""
    if request.authorizer is None:
        raise InternalError("no authorizer provided, unable to authorize a create on update")
    wanted = replace(request.attributes, verb="create")
    decision = await decided(request.authorizer, wanted)
    if not decision.allowed:
        raise forbidden_request(wanted, decision.reason)


def check_version_told(storage: Storage, name: str, sent: Obj) -> None:
    """Some kinds are replaced only by who says which version of them that is."""
    if storage.resource.version_needed and meta_of(sent).resource_version in (None, "", "0"):
        kind = storage.resource.kind
        wrong = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(About(kind=kind.plural, group=kind.group, name=name), [wrong])


def check_preconditions(storage: Storage, name: str, sent: Any, old: Obj) -> None:
    """What a writer named of the object it believes to change: `sent` is its metadata, or DeleteOptions' preconditions."""
    before = meta_of(old)
    if sent.uid and sent.uid != before.uid:
        raise failed_precondition(storage, name, "UID", sent.uid, before.uid)
    if sent.resource_version and sent.resource_version not in ("0", before.resource_version):
        raise conflict(storage.about(name), MODIFIED)


def failed_precondition(storage: Storage, name: str, what: str, wanted: str, found: str | None) -> Conflict:
    why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found or ''}"
    return conflict(storage.about(name), why)
