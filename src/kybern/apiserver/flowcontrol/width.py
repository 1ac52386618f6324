"""How many seats a request takes: one, and a list more, by how many objects it shows."""

from kybern.apiserver.options import one
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage

OBJECTS_PER_SEAT = 100
SEATS_MAX = 10
SHARE_OF_LEVEL = 0.15  # of a level's nominal seats that one request may take at most


def seats_of(request: ApiRequest, storage: Storage | None, nominal: int) -> int:
    at = request.attributes
    lists = at.verb == "list" or (at.verb == "watch" and bool(request.params.get("sendInitialEvents")))
    if not lists or at.name or storage is None:
        return 1
    shown = storage.cache.count(at.namespace)
    limit = one(request.params, "limit") if request.params else ""
    if limit.isdecimal() and limit != "0" and len(limit) < 10:
        shown = min(shown, int(limit))
    most = min(SEATS_MAX, max(1, -int(-nominal * SHARE_OF_LEVEL // 1)))
    return max(1, min(-(-shown // OBJECTS_PER_SEAT), most))
