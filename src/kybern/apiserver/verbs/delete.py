"""DELETE of one object, and of all that a selector takes."""

from asyncio import TaskGroup

from kybern.api.codec import encode
from kybern.api.errors import About, BadRequest, NotFound, invalid
from kybern.api.invalid import FieldError, invalid_value, not_supported
from kybern.api.meta_v1 import DeleteOptions, Status, StatusDetails
from kybern.apiserver.binary import PROTOBUF, listed
from kybern.apiserver.body import body_of, delete_options, media_type
from kybern.apiserver.deletion import Deleted
from kybern.apiserver.deletion import delete as remove
from kybern.apiserver.formats import PROTOBUF_HEADERS, answer, format_for
from kybern.apiserver.item import Item
from kybern.apiserver.machine import Machine
from kybern.apiserver.options import Params, Writing, flag, manager_of, one, whole_number
from kybern.apiserver.request import ApiRequest
from kybern.apiserver.returned import RETURNED
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs.listing import page_for, selected
from kybern.apiserver.verbs.shown import shown
from kybern.web.http import Response

AT_ONCE = 50  # deletions of a collection that share a commit
POLICIES = ("Orphan", "Background", "Foreground")


async def delete(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    at, http = request.attributes, request.http
    format_ = format_for(storage.resource.kind, http.headers.get("accept", ""))
    options = await options_of(request)
    deleted = await remove(machine, storage, at.namespace, at.name, options, writing_for(request, options))
    if deleted.gone and storage.resource.kind.group_resource not in RETURNED:
        return answer(success(storage, at.name, deleted), format_)
    accepted = not deleted.gone and options.orphan_dependents is False
    return answer(shown(storage.resource, deleted.served, format_, machine.clock), format_, 202 if accepted else 200)


def success(storage: Storage, name: str, deleted: Deleted) -> bytes:
    kind = storage.resource.kind
    details = StatusDetails(name=name, group=kind.group or None, kind=kind.plural, uid=deleted.uid)
    return encode(Status(status="Success", details=details))


async def delete_collection(machine: Machine, storage: Storage, request: ApiRequest) -> Response:
    format_ = format_for(storage.resource.kind, request.http.headers.get("accept", ""), ())
    options = await options_of(request)
    if options.preconditions and (options.preconditions.uid or options.preconditions.resource_version):
        raise BadRequest("preconditions cannot be used for a collection")
    page = await page_for(machine, storage, selected(storage, request), request.params)
    gone: list[bytes] = []
    for first in range(0, len(page.items), AT_ONCE):
        some = page.items[first : first + AT_ONCE]
        try:
            async with TaskGroup() as group:
                tasks = [group.create_task(remove_one(machine, storage, request, options, item)) for item in some]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        gone += filter(None, (task.result() for task in tasks))
    kind = storage.resource.kind
    if format_.media == PROTOBUF:
        pieces = await listed(kind, {"resourceVersion": str(page.revision)}, gone)
        return Response(200, PROTOBUF_HEADERS, pieces)
    head = (
        f'{{"kind":"{kind.list_kind}","apiVersion":"{kind.api_version}",'
        f'"metadata":{{"resourceVersion":"{page.revision}"}},"items":['
    )
    return answer(head.encode() + b",".join(gone) + b"]}", format_)


async def remove_one(
    machine: Machine, storage: Storage, request: ApiRequest, options: DeleteOptions, item: Item
) -> bytes | None:
    """None where somebody else was faster."""
    writing = writing_for(request, options)
    try:
        return (await remove(machine, storage, item.namespace, item.name, options, writing)).served
    except NotFound:
        return None


def writing_for(request: ApiRequest, options: DeleteOptions) -> Writing:
    agent = request.http.headers.get("user-agent", "")
    return Writing(
        user=request.user,
        manager=manager_of(agent),
        dry_run=bool(options.dry_run),
        warnings=request.warnings,
        audit=request.audit,
        options=options,
    )


async def options_of(request: ApiRequest) -> DeleteOptions:
    """From the body if there is one, otherwise from the query."""
    body = await body_of(request.http)
    sent = delete_options(body, media_type(request.http)) if body else from_params(request.params)
    check_options(sent)
    return sent


def from_params(params: Params) -> DeleteOptions:
    if not params:
        return DeleteOptions()
    return DeleteOptions(
        dry_run=tuple(params.get("dryRun", ())) or None,
        grace_period_seconds=whole_number(params, "gracePeriodSeconds"),
        orphan_dependents=flag(params, "orphanDependents") if "orphanDependents" in params else None,
        propagation_policy=one(params, "propagationPolicy") or None,
    )


def check_options(options: DeleteOptions) -> None:
    wrong: list[FieldError] = [
        not_supported("dryRun", value, ["All"]) for value in options.dry_run or () if value != "All"
    ]
    policy = options.propagation_policy
    if policy is not None and options.orphan_dependents is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        wrong.append(invalid_value("propagationPolicy", policy, why))
    if policy is not None and policy not in POLICIES:
        wrong.append(not_supported("propagationPolicy", policy, (*POLICIES, "nil")))
    if wrong:
        raise invalid(About(kind="DeleteOptions", group="meta.k8s.io"), wrong)
