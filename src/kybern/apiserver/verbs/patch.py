"""PATCH of an object: what shall be different, in one of four languages.

The patch is applied to the object as it is at that moment; when somebody else writes in between, it is applied again to
what they wrote. A resourceVersion inside the patch makes it a precondition.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from kybern.api import schema
from kybern.api.codec import encode
from kybern.api.errors import MODIFIED, BadRequest, conflict
from kybern.api.kind import Kind
from kybern.api.patches import apply_json_patch, apply_merge_patch, apply_strategic_patch
from kybern.api.strict import Malformed, decode_value, parse
from kybern.apiserver.body import body_of, media_type, mind, unsupported
from kybern.apiserver.formats import answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import Writing, writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.apply import APPLY_TYPES, apply
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.writes import rewrite
from kybern.registry.resource import Obj
from kybern.web.http import Response

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, *APPLY_TYPES)

Apply = Callable[[Any], Any]
"""A document to the patched document."""


async def patch(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    http, at = request.http, request.attributes
    media = media_type(http)
    if media in APPLY_TYPES:
        return await apply(machine, storage, request)
    format_ = format_for(storage.resource.kind, http.headers.get("accept", ""))
    agent = http.headers.get("user-agent", "")
    writing = writing_of(request.params, request.user, agent, "PatchOptions", request.warnings)
    kind = storage.resource.kind
    applied = patcher(await body_of(http), media, kind)

    def change(old: Obj) -> Obj:
        new = patched(old, applied, kind, writing)
        check_version(storage, at.name, new, old)
        return new

    written = await rewrite(machine, storage, at.namespace, at.name, change, writing)
    return answer(shown(storage, written.served, format_, machine.clock), format_)


def patcher(body: bytes, media: str, kind: Kind) -> Apply:
    """The patch as a function; BadRequest where it is none, 415 where the kind does not know the language."""
    structured = isinstance(kind.type, type) and issubclass(kind.type, msgspec.Struct)
    if media not in ACCEPTED or (media == STRATEGIC_PATCH and not structured):
        raise unsupported(ACCEPTED)
    try:
        value = parse(body)
    except Malformed as error:
        raise BadRequest(f"error decoding patch: {error}") from None
    if media == JSON_PATCH:
        return lambda document: apply_json_patch(document, value)
    if not isinstance(value, dict):
        raise BadRequest("json: cannot unmarshal array into Go value of type map[string]interface {}")
    if media == MERGE_PATCH:
        return lambda document: apply_merge_patch(document, value)
    tree = schema.of(kind.type)
    return lambda document: apply_strategic_patch(document, value, tree)


def patched(old: Obj, applied: Apply, kind: Kind, writing: Writing) -> Obj:
    document = applied(msgspec.json.decode(encode(old)))
    if not isinstance(document, dict):
        raise BadRequest("the patched object is not an object")
    try:
        new, problems = decode_value(kind.type, document, writing.validation != "Ignore")
    except Malformed as error:
        raise BadRequest(str(error)) from None
    if problems:
        mind(problems, kind, writing)
    before = meta_of(old)
    return new if meta_of(new).name else changed_meta(new, name=before.name)


def check_version(storage: Storage, name: str, new: Obj, old: Obj) -> None:
    sent = meta_of(new).resource_version
    if sent and sent != meta_of(old).resource_version:
        raise conflict(storage.about(name), MODIFIED)
