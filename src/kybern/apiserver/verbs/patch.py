"""PATCH of an object: what shall be different, in one of four languages.

The patch is applied to the object as it is at that moment; when somebody else writes in between, it is applied again to
what they wrote. A resourceVersion inside the patch makes it a precondition.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kybern.aio.beside import beside
from kybern.api import schema
from kybern.api.codec import encode, untyped
from kybern.api.errors import MODIFIED, About, BadRequest, Invalid, conflict, invalid
from kybern.api.go_messages import go_name, go_text
from kybern.api.invalid import forbidden_field, invalid_value
from kybern.api.kind import Kind
from kybern.api.patches import apply_json_patch, apply_merge_patch, apply_strategic_patch
from kybern.api.strict import Malformed, decode_value, parse, repeated_fields, strict_error
from kybern.apiserver.body import check_kind, media_type, named_as, names_of, sent_bytes, unsupported
from kybern.apiserver.formats import answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import Writing, writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.apply import APPLY_TYPES, apply
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.verbs.update import check_version_told
from kybern.apiserver.writes import rewrite
from kybern.registry.resource import Obj
from kybern.web.http import Response

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, *APPLY_TYPES)

FORCED = forbidden_field("force", "may not be specified for non-apply patch")


async def patch(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    http, at = request.http, request.attributes
    media = media_type(http)
    if media in APPLY_TYPES:
        return await apply(machine, storage, request)
    format_ = format_for(storage.resource.kind, http.headers.get("accept", ""))
    writing = writing_of(request, "PatchOptions")
    kind = storage.resource.kind
    body = await sent_bytes(http, writing)
    applied = await beside(lambda: patcher(media, body, kind, writing), writing.is_long)

    def change(old: Obj) -> Obj:
        new = patched(old, applied, kind, writing)
        check_version_told(storage, at.name, new)
        check_version(storage, at.name, new, old)
        return new

    written = await rewrite(machine, storage, at.namespace, at.name, change, writing)
    return answer(shown(storage.resource, written.served, format_, machine.clock), format_)


@dataclass(frozen=True, slots=True)
class Patcher:
    """A patch that has been read."""

    media: str
    apply: Callable[[Any], Any]
    """A document to the patched document."""
    value: Any
    repeated: tuple[str, ...]
    """The keys that it says twice, as a strict reader minds."""


def patcher(media: str, body: bytes, kind: Kind, writing: Writing) -> Patcher:
    """The patch as a function; BadRequest where it is none, 415 where the kind does not know the language."""
    structured = isinstance(kind.type, type) and issubclass(kind.type, msgspec.Struct)
    accepted = ACCEPTED if structured else tuple(known for known in ACCEPTED if known != STRATEGIC_PATCH)
    if media not in accepted:
        raise unsupported(accepted)
    if writing.force:
        raise invalid(About(kind="PatchOptions", group="meta.k8s.io"), [FORCED])
    try:
        value = parse(body)
    except Malformed as error:
        raise BadRequest(f"error decoding patch: {error}") from None
    repeated = tuple(repeated_fields(value, body)) if writing.validation != "Ignore" else ()
    return Patcher(media, function_of(value, media, kind), value, repeated)


def function_of(value: Any, media: str, kind: Kind) -> Callable[[Any], Any]:
    if media == JSON_PATCH:
        operations = [] if value is None else value
        return lambda document: apply_json_patch(document, operations)
    if value is None and media == MERGE_PATCH:
        raise BadRequest("Invalid JSON Patch")
    if not isinstance(value, dict | type(None)):
        raise BadRequest(f"json: cannot unmarshal {go_name(value)} into Go value of type map[string]interface {{}}")
    if media == MERGE_PATCH:
        return lambda document: apply_merge_patch(document, value)
    tree = schema.of(kind.type)
    return lambda document: apply_strategic_patch(document, value or {}, tree)


def patched(old: Obj, patch: Patcher, kind: Kind, writing: Writing) -> Obj:
    touched = touched_parts(patch, old)
    parts = {name: value for name, part in touched.items() if (value := getattr(old, part)) is not None}
    before = untyped(encode(parts if touched else old))
    document = patch.apply(before)
    if not isinstance(document, dict):
        raise refusal(patch, document, f"json: cannot unmarshal {go_name(document)} into Go value")
    document = as_kind(patch, document, kind)
    try:
        new, problems = decode_value(kind.type, document, writing.validation != "Ignore", patch.repeated)
    except Malformed as error:
        untouched = {name: value for name, value in untyped(encode(old)).items() if name not in touched}
        raise refusal(patch, {**untouched, **document} if touched else document, str(error)) from None
    if touched:
        new = msgspec.structs.replace(old, **{part: getattr(new, part) for part in touched.values()})
    if problems and writing.validation == "Strict":
        raise refusal(patch, document, strict_error(problems))
    writing.warnings += problems
    new = named_as(new, kind)
    return new if meta_of(new).name else changed_meta(new, name=meta_of(old).name)


def touched_parts(patch: Patcher, old: Obj) -> Mapping[str, str]:
    """The parts of an object that a patch says something about, and their fields; none where it may be about anything."""
    if patch.media == JSON_PATCH or not isinstance(old, msgspec.Struct) or not isinstance(patch.value, dict):
        return {}
    fields = dict(zip(old.__struct_encode_fields__, old.__struct_fields__, strict=True))
    if not patch.value.keys() <= fields.keys():
        return {}
    return {name: fields[name] for name in ("kind", "apiVersion", *patch.value)}


def as_kind(patch: Patcher, document: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """A patch cannot make an object one of another kind: a strategic one is not heard about that, others are refused."""
    if patch.media == STRATEGIC_PATCH:
        return {**document, "kind": kind.kind, "apiVersion": kind.api_version}
    try:
        check_kind(*names_of(document), kind)
    except BadRequest as error:
        raise refusal(patch, document, error.message.partition(f"cannot be handled as a {kind.kind}: ")[2]) from None
    return {"kind": kind.kind, "apiVersion": kind.api_version, **document}


def refusal(patch: Patcher, document: Any, why: str) -> Invalid:
    """Of what a patch led to. Upstream shows the strategic patch as Go prints a map, else the patched document."""
    shown_ = go_text(patch.value) if patch.media == STRATEGIC_PATCH else msgspec.json.encode(document).decode()
    return invalid(About(), [invalid_value("patch", shown_, why)])


def check_version(storage: Storage, name: str, new: Obj, old: Obj) -> None:
    sent = meta_of(new).resource_version
    if sent and sent != meta_of(old).resource_version:
        raise conflict(storage.about(name), MODIFIED)
