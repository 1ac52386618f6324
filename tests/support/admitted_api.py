"""An API server over a memory store with all its admission plugins, asked without a network; call-outs are real."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.admission.order import admission_plugins
from kybern.apiserver.admission.plugin import Inputs, Plugin
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.rbac import following
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.customresources.serving import CustomResources
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import Admission, ApiRequest, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.http import Request, Response

ADMIN = User("admin", ("system:masters", "system:authenticated"))
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


async def as_said(request: Request) -> User:
    """Who asks is in a header; an administrator where it is not."""
    name = request.headers.get("x-user", "")
    return User(name, ("system:authenticated",)) if name else ADMIN


async def connected(request: ApiRequest) -> Response:
    return Response(200, {}, b"connected")


@dataclass
class Answer:
    status: int
    body: Any
    warnings: str

    @property
    def message(self) -> str:
        return str(self.body["message"])


class AdmittedApi:
    def __init__(self, server: ApiServer, objects: ClusterObjects, inputs: Inputs) -> None:
        self.server, self.objects, self.inputs = server, objects, inputs

    def audited(self) -> dict[str, str]:
        """What is noted for the audit log from now on."""
        told: dict[str, str] = {}

        class Noting(Plugin):
            async def validate(self, admission: Admission) -> None:
                told.update(admission.audit)

        machine = self.server.machine
        machine.use((*machine.plugins, Noting(self.inputs)))
        return told

    async def send(self, method: str, url: str, body: Any = None, **headers: str) -> Answer:
        path, _, query = url.partition("?")
        data = b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.server(Request(method, path, query, sent, data))
        raw = await response.read()
        found = json.loads(raw) if raw.startswith(b"{") else raw
        return Answer(response.status, found, response.headers.get("Warning", ""))

    async def get(self, url: str) -> Answer:
        return await self.send("GET", url)

    async def post(self, url: str, body: Any, **headers: str) -> Answer:
        return await self.send("POST", url, body, **headers)

    async def put(self, url: str, body: Any, **headers: str) -> Answer:
        return await self.send("PUT", url, body, **headers)

    async def patch(self, url: str, body: Any, how: str = "merge", **headers: str) -> Answer:
        return await self.send("PATCH", url, body, content_type=PATCH_TYPES[how], **headers)

    async def delete(self, url: str, **headers: str) -> Answer:
        return await self.send("DELETE", url, **headers)

    async def served(self, url: str) -> None:
        """Returns when there is something at an address: a kind that was just defined."""
        async with asyncio.timeout(10):
            while (await self.get(url)).status != 200:
                await asyncio.sleep(0)

    async def made(self, url: str, body: Any) -> Any:
        """What came of creating it, which must be allowed."""
        answer = await self.post(url, body)
        assert answer.status == 201, answer.body
        return answer.body


@asynccontextmanager
async def admitted_api() -> AsyncIterator[AdmittedApi]:
    store, clock, ids = MemoryStore(), SystemClock(), Ids(1)
    machine = await open_machine(store, RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    rbac = following(objects)
    callouts = Callouts(objects, Random(1))
    inputs = Inputs(
        objects=objects, authorizer=Authorizers((rbac,)), rbac=rbac, clock=clock, ids=ids, callouts=callouts
    )
    connections = dict.fromkeys(("pods/attach", "pods/exec", "pods/portforward"), connected)
    plugins = admission_plugins(inputs)
    server = ApiServer(
        machine, authenticate=as_said, authorizer=Authorizers((rbac,)), plugins=plugins, connections=connections
    )
    api = AdmittedApi(server, objects, inputs)
    definitions = CustomResources(machine, objects, lambda: None, callouts)
    await definitions.start()
    serving = asyncio.create_task(definitions.run())
    for name in ("default", "other"):
        await api.made("/api/v1/namespaces", {"metadata": {"name": name, "labels": {"name": name}}})
        await api.made(f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    try:
        yield api
    finally:
        serving.cancel()
        callouts.close()
        await store.close()
