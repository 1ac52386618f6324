"""An API server as it is composed, with every defence in place, or with one of them taken away.

    async with secured_api() as api: ...                        # an attack must fail here
    async with secured_api(without="PodSecurity") as api: ...   # and succeed here, or the test shows nothing

`without` is an admission plugin's name, or `authorization`, or several joined by `+`. Who asks is said by name; groups belong to the name.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.apiserver.admission.order import ON_REQUEST, admission_plugins
from kybern.apiserver.admission.plugin import Inputs
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.auth.impersonation import Impersonation
from kybern.apiserver.auth.keys import Keys, keys_from_pem, new_signing_key
from kybern.apiserver.auth.setup import Auth, auth
from kybern.apiserver.bootstrap.cluster import bootstrap
from kybern.apiserver.bootstrap.rbac import node_rules
from kybern.apiserver.callouts.callouts import Callouts
from kybern.apiserver.documents import Documents
from kybern.apiserver.layers.authenticate import Authenticate
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import ApiRequest, Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.store.memory import MemoryStore
from kybern.web.http import Request, Response

GROUPS = {"root": ("system:masters",), "system:node:n1": ("system:nodes",), "system:node:n2": ("system:nodes",)}
PATCHES = {
    "PATCH": "application/merge-patch+json",
    "STRATEGIC": "application/strategic-merge-patch+json",
    "APPLY": "application/apply-patch+yaml",
}
KEYS: list[Keys] = []


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(True)


@dataclass
class Answer:
    status: int
    body: Any

    @property
    def done(self) -> bool:
        return self.status < 300


def by_name(access: Auth) -> Authenticate:
    """Who a header says it is; without one, whoever has the credentials."""

    async def authenticate(request: Request) -> User:
        name = request.headers.get("test-user")
        if name is None:
            return await access.authenticate(request)
        return User(name, (*GROUPS.get(name, ()), "system:authenticated"))

    return authenticate


async def connected(request: ApiRequest) -> Response:
    return Response(200, {}, b"connected")


class SecuredApi:
    def __init__(self, server: ApiServer, objects: ClusterObjects, access: Auth) -> None:
        self.server, self.objects, self.access = server, objects, access

    async def ask(self, user: str, method: str, url: str, body: Any = None, **headers: str) -> Answer:
        path, _, query = url.partition("?")
        sent = {
            **({"test-user": user} if user else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if method in PATCHES:
            sent["content-type"] = PATCHES[method]
            query = f"{query}&fieldManager=test" if method == "APPLY" else query
        data = b"" if body is None else json.dumps(body).encode()
        verb = "PATCH" if method in PATCHES else method
        response = await self.server(Request(verb, path, query.strip("&"), sent, data))
        raw = await response.read()
        return Answer(response.status, json.loads(raw) if raw.startswith(b"{") else raw)

    async def made(self, url: str, body: Any) -> Any:
        answer = await self.ask("root", "POST", url, body)
        assert answer.status == 201, answer.body
        return answer.body


@asynccontextmanager
async def secured_api(without: str = "") -> AsyncIterator[SecuredApi]:
    if not KEYS:
        KEYS.append(keys_from_pem(new_signing_key()))
    store, clock, ids = MemoryStore(), SystemClock(), Ids(1)
    machine = await open_machine(store, RESOURCES, clock, ids)
    objects = ClusterObjects(machine)
    access = auth(objects=objects, keys=KEYS[0], clock=clock, ids=ids, node_rules=node_rules())
    gone = without.split("+")
    authorizer = Authorizers((Everything(),)) if "authorization" in gone else access.authorizer
    callouts = Callouts(objects, Random(1), pods_reachable=False)
    inputs = Inputs(
        objects=objects, authorizer=authorizer, rbac=access.rbac, clock=clock, ids=ids, callouts=callouts
    )  # fmt: skip
    plugins = [
        plugin
        for plugin in admission_plugins(inputs, ON_REQUEST - {"AlwaysDeny", "EventRateLimit", "ImagePolicyWebhook"})
        if plugin.name not in gone
    ]
    connections = {
        f"{resource}/{part}": connected
        for resource, parts in {
            "pods": "exec attach portforward log proxy",
            "services": "proxy",
            "nodes": "proxy",
        }.items()
        for part in parts.split()
    }
    server = ApiServer(
        machine, authenticate=by_name(access), authorizer=authorizer, impersonation=Impersonation(authorizer),
        plugins=plugins, creators=access.creators, connections=connections, paths=access.documents.handlers(),
        documents=(Documents(machine.resources, lambda: "localhost"),),
    )  # fmt: skip
    await bootstrap(objects)
    try:
        yield SecuredApi(server, objects, access)
    finally:
        callouts.close()
        await store.close()
