"""Server-side apply: PATCH with an object's wanted fields, each owned by the manager that names it.

What does not exist is created. The configuration is a whole object of the kind, in YAML or JSON, without managedFields.
"""

from typing import Any

from kybern.aio.beside import beside
from kybern.api import apply as ownership
from kybern.api import schema
from kybern.api.autoscaling_v1 import Scale, ScaleSpec
from kybern.api.codec import encode
from kybern.api.errors import About, BadRequest, Conflict, invalid, not_found
from kybern.api.invalid import required
from kybern.api.kind import Kind
from kybern.api.strict import Malformed, decode_value, parse
from kybern.apiserver.body import from_yaml, mind, sent_bytes
from kybern.apiserver.formats import Format, answer, format_for
from kybern.apiserver.machine import Machine
from kybern.apiserver.meta import changed_meta, meta_of
from kybern.apiserver.options import Writing, one, writing_of
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.storage import Storage
from kybern.apiserver.tracking import document_of, ignored, with_entries
from kybern.apiserver.verbs.shown import shown
from kybern.apiserver.verbs.update import check_may_create, check_name, check_preconditions
from kybern.apiserver.writes import Written, create_once, rewrite
from kybern.registry.resource import Obj, Subresource
from kybern.web.http import Response

APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+json")


async def apply(machine: Machine, storage: Storage, request: ApiRequest, sub: Subresource | None = None) -> Response:
    written, format_ = await applied(machine, storage, request, sub)
    return answer(
        shown(storage.resource, written.served, format_, machine.clock), format_, 201 if written.created else 200
    )


async def applied(
    machine: Machine, storage: Storage, request: ApiRequest, sub: Subresource | None = None
) -> tuple[Written, Format]:
    http, at = request.http, request.attributes
    said = sub.kind if sub and sub.kind else storage.resource.kind
    format_ = format_for(said, http.headers.get("accept", ""))
    writing = writing_of(request, "PatchOptions")
    if not one(request.params, "fieldManager"):
        wrong = required("fieldManager", "is required for apply patch")
        raise invalid(About(kind="PatchOptions", group="meta.k8s.io"), [wrong])
    writing.operation, writing.subresource = "Apply", sub.name if sub else ""
    kind = storage.resource.kind
    body = await sent_bytes(http, writing)
    wanted, sent = await beside(lambda: configuration(body, said, writing), writing.is_long)
    sent = sent if meta_of(sent).name else changed_meta(sent, name=at.name)
    check_name(sent, at.name, at.namespace)
    if not (wanted.get("metadata") or {}).get("name"):
        wanted = {**wanted, "metadata": {**(wanted.get("metadata") or {}), "name": at.name}}
    if sub and sub.replicas:
        wanted = of_parent(wanted, kind, sub.replicas)

    def merged(live: Obj | None) -> Obj:
        document, entries = ownership.apply(
            None if live is None else document_of(encode(live)),
            wanted,
            manager=writing.manager,
            api_version=kind.api_version,
            now=machine.now(),
            schema=schema.of(kind.type),
            force=writing.force,
            subresource=writing.subresource,
            ignored=ignored(storage.resource, writing.subresource),
            told_version=said.api_version if said is not kind else "",
        )
        return with_entries(typed(kind, document), entries)

    def change(old: Obj) -> Obj:
        check_preconditions(storage, at.name, meta_of(sent), old)
        new = merged(old)
        if sub is None or sub.write is None:
            return new
        if sub.replicas:
            scaled = sub.write(old, Scale(spec=ScaleSpec(replicas=value_at(document_of(encode(new)), sub.replicas))))
            return changed_meta(scaled, managed_fields=meta_of(new).managed_fields)
        return sub.write(old, new)

    async def absent() -> Written:
        if sub is not None:
            raise not_found(storage.about(at.name))
        if meta_of(sent).uid:
            raise Conflict(
                f"uid mismatch: the provided object specified uid {meta_of(sent).uid}, and no existing object was found"
            )
        await check_may_create(request)
        made = await beside(lambda: merged(None), writing.is_long)
        new = changed_meta(made, namespace=at.namespace or None)
        return await create_once(machine, storage, new, at.namespace, writing)

    check = sub.validate if sub else None
    return await rewrite(machine, storage, at.namespace, at.name, change, writing, absent, check), format_


def of_parent(scale: dict[str, Any], kind: Kind, path: tuple[str, ...]) -> dict[str, Any]:
    """What a configuration of a scale says of the object that is scaled: how many, and in whose name nothing else."""
    found: Any = value_at(scale, ("spec", "replicas"))
    for name in reversed(path if found is not None else ()):
        found = {name: found}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": scale["metadata"]["name"]},
        **(found or {}),
    }


def value_at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def configuration(body: bytes, kind: Kind, writing: Writing) -> tuple[dict[str, Any], Obj]:
    """The configuration as it was sent, and as an object: what cannot be one is refused before anything is merged."""
    try:
        value, repeated = (parse(body), []) if body.lstrip()[:1] == b"{" else from_yaml(body)
        if not isinstance(value, dict):
            raise Malformed("it is not an object")
    except Malformed as error:
        raise BadRequest(f"error decoding YAML: {error}") from None
    sent_kind, sent_version = value.get("kind"), value.get("apiVersion")
    if not sent_kind or not sent_version:
        raise BadRequest("invalid object type: /, Kind=")
    if sent_version != kind.api_version:
        raise BadRequest(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {sent_version}, expected: {kind.api_version}"
        )
    if sent_kind != kind.kind:
        raise BadRequest(f"Incorrect kind specified in apply patch. Specified kind: {sent_kind}, expected: {kind.kind}")
    ownership.check_typed(value, kind.api_version, schema.of(kind.type))
    try:
        obj, problems = decode_value(kind.type, value, True, repeated)
    except Malformed as error:
        raise BadRequest(f"error decoding YAML: {error}") from None
    if problems:
        mind(problems, kind, writing)
    return value, obj


def typed(kind: Kind, document: dict[str, Any]) -> Obj:
    try:
        return decode_value(kind.type, document, False)[0]
    except Malformed as error:
        raise BadRequest(str(error)) from None
