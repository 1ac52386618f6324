"""POST to a collection: a new object."""

from kybern.api.errors import BadRequest
from kybern.apiserver.body import sent_object
from kybern.apiserver.formats import answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.writes import create as write_new
from kybern.registry.resource import Obj
from kybern.web.http import Response


async def create(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    http = request.http
    format_ = format_for(storage.resource.kind, http.headers.get("accept", ""))
    writing = writing_of(request, "CreateOptions")
    obj = await sent_object(http, storage.resource.kind, writing)
    obj = in_namespace(obj, request.attributes.namespace)
    if meta_of(obj).resource_version:
        raise BadRequest("resourceVersion should not be set on objects to be created")
    written = await write_new(machine, storage, obj, request.attributes.namespace, writing)
    return answer(shown(storage.resource, written.served, format_, machine.clock), format_, 201)


def in_namespace(obj: Obj, namespace: str) -> Obj:
    """The object in the namespace that the address names; it may leave that out, but not name another."""
    sent = meta_of(obj).namespace or ""
    if sent == namespace:
        return obj
    if sent and namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    return changed_meta(obj, namespace=namespace or None)
