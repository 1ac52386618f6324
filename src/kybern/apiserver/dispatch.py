"""The innermost layer: to the verb that answers, or to a handler of the path."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from kybern.api.codec import encode
from kybern.api.errors import MethodNotAllowed, NotFound
from kybern.apiserver.body import sent_object
from kybern.apiserver.connect import Connections, Creators, address
from kybern.apiserver.formats import answer, format_for
from kybern.apiserver.machine import Machine, admit, reserved, validate
from kybern.apiserver.options import writing_of
from kybern.apiserver.request import Admission, ApiRequest, Layer
from kybern.apiserver.storage import Storage
from kybern.apiserver.verbs import subresource as part
from kybern.apiserver.verbs.create import create, in_namespace
from kybern.apiserver.verbs.delete import delete, delete_collection
from kybern.apiserver.verbs.get import get
from kybern.apiserver.verbs.listing import list_objects
from kybern.apiserver.verbs.patch import patch
from kybern.apiserver.verbs.update import update
from kybern.apiserver.verbs.watching import watch
from kybern.registry.resource import Resource, Subresource
from kybern.web.http import Response

NO_SUCH_PATH = "the server could not find the requested resource"

Delegate = Callable[[str], Layer | None]
"""Of a path: another server that answers for it; None where it is this one."""


def nobody(path: str) -> Layer | None:
    return None


Verb = Callable[[Machine, Storage, ApiRequest], Awaitable[Response]]

VERBS: Mapping[str, tuple[str, Verb]] = {
    "get": ("get", get),
    "list": ("list", list_objects),
    "watch": ("watch", watch),
    "create": ("post", create),
    "update": ("put", update),
    "patch": ("patch", patch),
    "delete": ("delete", delete),
    "deletecollection": ("deletecollection", delete_collection),
}
"""A verb's name among the verbs of a kind, and the function that answers it."""


class Dispatch:
    def __init__(
        self,
        machine: Machine,
        *,
        creators: Creators,
        connections: Connections,
        paths: Mapping[str, Layer],
        documents: Sequence[Layer],
        delegate: Delegate = nobody,
    ) -> None:
        """`paths` are exact; `documents` are asked in turn about all others, and raise NotFound for what is not theirs.
        `delegate` knows who else answers for a path, be it one that we know too."""
        self.delegate = delegate
        self.machine = machine
        self.creators = creators
        self.connections = connections
        self.paths = paths
        self.documents = documents

    async def __call__(self, request: ApiRequest) -> Response:
        resource, delegate = request.resource, self.delegate(request.http.path)
        if delegate is not None:
            return await delegate(request)
        if resource is None:
            return await self._path(request)
        if request.attributes.subresource:
            return await self._part(request, resource)
        at = request.attributes
        if resource.deprecation:
            request.warnings.append(resource.deprecation)
        found = VERBS.get(at.verb)
        storage = self.machine.storages.get((at.group, at.version, at.resource))
        self._check_scope(request, resource)
        if (
            found is None
            or found[0] not in resource.kind.verbs
            or (at.verb == "create" and at.name)
            or (at.verb in ("update", "patch") and not at.name)
        ):
            raise MethodNotAllowed(part.NOT_ALLOWED)
        if storage is None:
            return await self._create_virtual(request, resource)
        if storage.feed is not None and at.verb in ("list", "watch", "deletecollection"):
            await storage.feed.caught_up()
        return await found[1](self.machine, storage, request)

    def _check_scope(self, request: ApiRequest, resource: Resource) -> None:
        """A namespace belongs into the path exactly where the kind has one; lists may span all of them."""
        at = request.attributes
        if at.namespace and not resource.kind.namespaced and at.resource != "namespaces":
            raise NotFound(NO_SUCH_PATH)
        if resource.kind.namespaced and not at.namespace and at.verb not in ("list", "watch", "deletecollection"):
            raise NotFound(NO_SUCH_PATH) if at.verb != "create" else MethodNotAllowed(part.NOT_ALLOWED)

    async def _path(self, request: ApiRequest) -> Response:
        handler = self.paths.get(request.http.path)
        if handler is not None:
            return await handler(request)
        for document in self.documents:
            try:
                return await document(request)
            except NotFound:
                continue
        raise NotFound(NO_SUCH_PATH)

    async def _part(self, request: ApiRequest, resource: Resource) -> Response:
        sub, at = request.subresource, request.attributes
        if sub is None or not at.name:
            raise NotFound(NO_SUCH_PATH)
        where = address(resource.kind.group_resource, sub.name)
        connection = self.connections.get(where)
        if connection is not None:
            await self._admit_connection(request, resource, sub)
            return await connection(request)
        method = request.http.method.lower()
        if {"head": "get"}.get(method, method) not in sub.verbs:
            raise MethodNotAllowed(part.NOT_ALLOWED)
        storage = self.machine.storages[(at.group, at.version, at.resource)]
        match at.verb:
            case "get":
                return await part.read(self.machine, storage, sub, request)
            case "update":
                return await part.replace(self.machine, storage, sub, request)
            case "patch":
                return await part.patch(self.machine, storage, sub, request)
            case "create":
                return await part.post(self.machine, storage, sub, request, self.creators.get(where))
        raise MethodNotAllowed(part.NOT_ALLOWED)

    async def _admit_connection(self, request: ApiRequest, resource: Resource, sub: Subresource) -> None:
        at = request.attributes
        admission = Admission(
            user=request.user,
            operation="CONNECT",
            resource=resource,
            subresource=sub.name,
            namespace=at.namespace,
            name=at.name,
            object=None,
            old=None,
            dry_run=False,
            options=request.params,
            warnings=request.warnings,
            audit=request.audit,
        )
        with reserved(self.machine, admission) as outcome:
            await admit(self.machine, admission)
            await validate(self.machine, admission)
            outcome.written = True

    async def _create_virtual(self, request: ApiRequest, resource: Resource) -> Response:
        """A kind that is only ever posted: a review, say."""
        kind, http = resource.kind, request.http
        creator = self.creators.get(kind.group_resource)
        if creator is None or request.attributes.verb != "create":
            raise MethodNotAllowed(part.NOT_ALLOWED)
        format_ = format_for(kind, http.headers.get("accept", ""), ())
        writing = writing_of(request, "CreateOptions")
        sent: Any = await sent_object(http, kind, writing)
        sent = resource.default(in_namespace(sent, request.attributes.namespace))
        return answer(encode(await creator(sent, request)), format_, 201)
