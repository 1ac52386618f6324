"""GET of one object: bytes that are there already."""

from kybern.api.errors import not_found
from kybern.apiserver.formats import PLAIN, answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import one
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.tables import described
from kybern.apiserver.verbs.listing import include_of
from kybern.apiserver.verbs.shown import pretty, shown
from kybern.apiserver.verbs.versions import check_not_future, version_number
from kybern.web.http import Response


async def get(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    at = request.attributes
    if request.params:
        await check_not_future(machine, machine.store, version_number(one(request.params, "resourceVersion")))
    item = await storage.item(at.namespace, at.name)
    if item is None:
        raise not_found(storage.about(at.name))
    format_ = format_for(storage.resource.kind, request.http.headers.get("accept", ""))
    if format_ is PLAIN or not format_.transform:
        return answer(item.served, format_, pretty=pretty(request))
    if format_.transform == "Table":
        await described(storage.resource)
    return answer(shown(storage.resource, item.served, format_, machine.clock, include_of(request.params)), format_)
