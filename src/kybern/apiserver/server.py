"""The API server, put together: one handler for web requests.

    machine = await open_machine(store, RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    server = ApiServer(machine, authenticate=..., authorizer=..., plugins=..., creators=..., connections=...,
                       paths=..., documents=...)
    await serve(server, ...)            # kybern.web
    await server.run()                  # beside it: forgets old revisions, until cancelled

The layers, from the outside: understand → authenticate → fair turns → authorize → dispatch (→ admit → store). What any of them
raises becomes a Status here, and nowhere else.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from kybern.aio.clock import Clock
from kybern.aio.ids import Ids
from kybern.api.errors import BadRequest
from kybern.apiserver.audit.audit import Audit
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.compaction import Compaction
from kybern.apiserver.components import Components
from kybern.apiserver.connect import Connections, Creators
from kybern.apiserver.dispatch import Delegate, Dispatch, nobody
from kybern.apiserver.evictions import Evictions
from kybern.apiserver.failures import failure
from kybern.apiserver.flowcontrol.control import FlowControl
from kybern.apiserver.flowcontrol.debug import Dumps
from kybern.apiserver.flowcontrol.metrics import FlowMetrics
from kybern.apiserver.formats import PLAIN, Format, negotiate
from kybern.apiserver.health import Check, Health, well
from kybern.apiserver.layers.audit import AuditLayer
from kybern.apiserver.layers.authenticate import Authenticate, AuthenticateLayer
from kybern.apiserver.layers.authorize import AuthorizeLayer
from kybern.apiserver.layers.fair import FairLayer
from kybern.apiserver.layers.understand import Understand
from kybern.apiserver.machine import Machine
from kybern.apiserver.metrics import Metrics
from kybern.apiserver.request import AdmissionPlugin, Authorizer, Layer
from kybern.apiserver.storage import key_of, load_caches, storages_for
from kybern.apiserver.warning import warned
from kybern.registry.resource import Resource
from kybern.store.interface import Store
from kybern.web.http import BadRequest as NotHttp
from kybern.web.http import Request, Response


async def open_machine(store: Store, resources: Iterable[Resource], clock: Clock, ids: Ids) -> Machine:
    """Everything in memory that is in the store, for these resources."""
    known = list(resources)
    storages = storages_for(known, store)
    await load_caches(list(storages.values()), store)
    return Machine(store, storages, clock, ids, served={key_of(resource): resource for resource in known})


class ApiServer:
    def __init__(
        self,
        machine: Machine,
        *,
        authenticate: Authenticate,
        authorizer: Authorizer,
        impersonation: Impersonation | None = None,
        plugins: Sequence[AdmissionPlugin] = (),
        creators: Creators | None = None,
        connections: Connections | None = None,
        paths: Mapping[str, Layer] | None = None,
        documents: Sequence[Layer] = (),
        delegate: Delegate = nobody,
        checks: Mapping[str, Check] | None = None,
        flow_control: FlowControl | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`paths` are answered by their handlers; `documents` are asked about every other path (discovery, OpenAPI).
        Without `flow_control` nobody waits for anybody."""
        machine.use(plugins)
        machine.storages["", "v1", "componentstatuses"].feed = Components(machine)
        self.machine = machine
        self.metrics = Metrics()
        self.understand = Understand(machine.served.get)
        self.compaction = Compaction(machine)
        health = Health({"ping": well, "store": self._store_is_well, **(checks or {})})
        dispatch = Dispatch(
            machine,
            creators={"pods/eviction": Evictions(machine).create, **(creators or {})},
            connections=connections or {},
            paths={
                **dict(health.paths()),
                "/metrics": self.metrics.answer,
                **(Dumps(flow_control).paths() if flow_control is not None else {}),
                **(paths or {}),
            },
            documents=documents,
            delegate=delegate,
        )
        inner: Layer = AuthorizeLayer(authorizer, dispatch)
        if flow_control is not None:
            self.metrics.registry.register(FlowMetrics(flow_control))
            inner = FairLayer(flow_control, machine, inner)
        self.flow_control = flow_control
        self.audit = audit
        if audit is not None:
            self.metrics.registry.register(audit)
            inner = AuditLayer(audit, inner)
        self.first: Layer = AuthenticateLayer(authenticate, impersonation, inner)

    async def __call__(self, http: Request) -> Response:
        clock = self.machine.clock
        began = clock.monotonic()
        try:
            request = self.understand(http)
        except NotHttp as error:
            return failure(BadRequest(str(error)), format_for_errors(http))
        try:
            response = await self.first(request)
        except Exception as error:  # noqa: BLE001 - the one place where whatever went wrong becomes an answer
            response = failure(error, format_for_errors(http))
        if request.flow_headers is not None:
            response.headers = {**response.headers, **request.flow_headers}
        if request.warnings:
            response = warned(response, request.warnings)
        if request.on_answer is not None:
            response = request.on_answer(response)
        elif response.status == 401 and self.audit is not None:
            self.audit.unauthenticated(request, response)
        if http.method == "HEAD":
            response.body = b""
        self.metrics.count(request, response.status, clock.monotonic() - began)
        return response

    async def run(self) -> None:
        """The server's own housekeeping, for as long as it serves."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.compaction.run())
            if self.flow_control is not None:
                tasks.create_task(self.flow_control.run())

    async def _store_is_well(self) -> str:
        return self.machine.store.refusal


def format_for_errors(http: Request) -> Format:
    """An error is told in whatever form; a wish that cannot be met is no reason not to."""
    try:
        return negotiate(http.headers.get("accept", ""))
    except Exception:  # noqa: BLE001 - see above
        return PLAIN
