"""The APIServices that lead elsewhere: which paths are theirs, whether they can be reached, what they serve.

    apis = AggregatedApis(objects, machine, credentials, documents)
    server = ApiServer(machine, ..., delegate=apis.delegate)
    await apis.run()        # watches over them, until cancelled

A path of `/apis/<group>/<version>` that an APIService claims goes to its server, after authentication and authorization
like any other; `/openapi/v3/apis/<group>/<version>` too. `v1.`, the core group's, claims all of `/api`.
"""

import asyncio
import base64
import hashlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from kybern.aio.beside import beside
from kybern.aio.timeouts import timeout
from kybern.api.apiregistration_v1 import APIService
from kybern.api.core_v1 import Endpoints, Service
from kybern.api.errors import ApiError, ServiceUnavailable
from kybern.api.strict import Malformed, parse
from kybern.apiserver.aggregation.availability import (
    AVAILABLE,
    IS_LOCAL,
    PASSED,
    Said,
    failed,
    obstacle,
    with_condition,
)
from kybern.apiserver.aggregation.merging import RemoteVersion, openapi_v3_in, resources_in
from kybern.apiserver.aggregation.passing import pass_on, remote_headers
from kybern.apiserver.aggregation.registration import register
from kybern.apiserver.callouts.places import Unreachable, endpoint, looked_up
from kybern.apiserver.machine import Machine
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.options import LARGE_BYTES
from kybern.apiserver.request import ApiRequest, Layer, User
from kybern.registry.parts import changed
from kybern.store.interface import StoreError
from kybern.web.client import Client, ClientError
from kybern.web.clients import Clients
from kybern.web.http import Request, Response
from kybern.web.tls import client_context

LOOK_SECONDS = 30.0  # upstream's: who was reachable may have gone without any object telling so
ATTEMPTS = 5
ANSWER_SECONDS = 5.0
CLIENTS_MAX = 64  # of servers spoken to lately: behind a Service they come and go
DOCUMENT_BYTES_MAX = 16 * 1024 * 1024
SELF = User("system:kube-aggregator", ("system:masters",))

log = logging.getLogger(__name__)

CORE = ("", "v1")

Resolve = Callable[[APIService], Awaitable[tuple[str, int]]]
"""An address and port behind its Service. Unreachable where there is none."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The front proxy's: what extensions know us by."""

    certificate: bytes
    key: bytes


class AggregatedApis:
    def __init__(
        self,
        objects: ClusterObjects,
        machine: Machine,
        credentials: Credentials | None,
        invalidate: Callable[[], None],
        resolve: Resolve | None = None,
    ) -> None:
        self.objects, self.machine, self.credentials, self.invalidate = objects, machine, credentials, invalidate
        self.resolve = resolve or self.behind
        self.claimed: dict[tuple[str, str], str] = {}
        """(group, version) -> the name of the APIService that leads elsewhere."""
        self.known: dict[str, RemoteVersion] = {}
        self.clients: Clients[tuple[str, int, str]] = Clients(CLIENTS_MAX)
        self.looking: set[str] = set()
        """APIServices that are being looked at; one that hangs keeps no other waiting."""
        self.again: set[str] = set()
        """Those of them that something has happened to meanwhile."""
        self.changed = asyncio.Event()
        for type_ in (Service, Endpoints):
            objects.on_change(type_, self._behind_changed)
        objects.on_change(APIService, self._service_changed)
        for service in objects.list(APIService):
            self._service_changed(None, service)

    # --- which paths are theirs ---------------------------------------------------------------------------------------

    def _service_changed(self, old: APIService | None, new: APIService | None) -> None:
        for service in (old, new):
            if service is not None and service.spec.service is not None:
                self.claimed.pop((service.spec.group or "", service.spec.version or ""), None)
        if new is not None and new.spec.service is not None:
            self.claimed[(new.spec.group or "", new.spec.version or "")] = new.metadata.name or ""
        elif old is not None:
            self.known.pop(old.metadata.name or "", None)
        if old is None or new is None or old.spec != new.spec:
            self.invalidate()
            self.changed.set()

    def _behind_changed(self, old: Any, new: Any) -> None:
        """Most of them have nothing to do with us, and some change all the time."""
        meta = (new or old).metadata
        for name in self.claimed.values():
            service = self.objects.get(APIService, name)
            ref = service.spec.service if service is not None else None
            if ref is not None and (ref.namespace, ref.name) == (meta.namespace, meta.name):
                self.changed.set()
                return

    def remote(self) -> list[RemoteVersion]:
        """For the documents about the API; those of the core group are its server's own, below `/api`."""
        return [known for known in self.known.values() if known.group]

    def delegate(self, path: str) -> Layer | None:
        """Who answers for a path, where it is not this server."""
        if not self.claimed:
            return None
        name = self.claimed.get(claimed_by(path))
        if name is None:
            return None

        async def answer(request: ApiRequest) -> Response:
            return await self.answer(name, request)

        return answer

    async def answer(self, name: str, request: ApiRequest) -> Response:
        service = self.objects.get(APIService, name)
        if service is None or not is_available(service):
            raise ServiceUnavailable("service unavailable")
        try:
            return await pass_on(request, await self.client(service))
        except (Unreachable, ssl.SSLError, ValueError) as error:
            raise ServiceUnavailable(f"service unavailable: {error}") from None

    async def behind(self, service: APIService) -> tuple[str, int]:
        """A server on loopback (by a Service's external name) has to prove that it is the one that is meant."""
        ref = service.spec.service
        assert ref is not None
        rng: Random = self.machine.ids.rng
        host, port = endpoint(self.objects, ref.namespace or "", ref.name or "", ref.port or 443, rng)
        return await looked_up(host, port, loopback=not service.spec.insecure_skip_tls_verify), port

    async def client(self, service: APIService) -> Client:
        """By where it goes and whom it trusts; connections are kept."""
        ref = service.spec.service
        assert ref is not None
        host, port = await self.resolve(service)
        name = f"{ref.name}.{ref.namespace}.svc"
        trusted = f"{name} {service.spec.insecure_skip_tls_verify} {service.spec.ca_bundle}"
        key = (host, port, hashlib.sha256(trusted.encode()).hexdigest())

        def made() -> Client:
            own = self.credentials
            context = client_context(
                ca=base64.b64decode(service.spec.ca_bundle) if service.spec.ca_bundle else None,
                certificate=own.certificate if own else None,
                key=own.key if own else None,
                verify=not service.spec.insecure_skip_tls_verify,
            )
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            headers = {"Host": f"{name}:{ref.port or 443}"}
            return Client(f"https://{authority}", ssl=context, server_hostname=name, headers=headers)

        return self.clients.kept(key, made)

    def close(self) -> None:
        self.clients.close()

    # --- watching over them -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        starting = True
        async with asyncio.TaskGroup() as looks:
            while True:
                self.changed.clear()
                try:
                    await register(self.machine, self.objects, starting=starting)
                    starting = False
                except (ApiError, StoreError, ExceptionGroup) as error:
                    log.info("aggregation: %s", error)
                self.begin(looks)
                try:
                    async with timeout(LOOK_SECONDS):
                        await self.changed.wait()
                except TimeoutError:
                    continue

    async def look(self) -> None:
        """Every APIService once."""
        async with asyncio.TaskGroup() as looks:
            self.begin(looks)

    def begin(self, looks: asyncio.TaskGroup) -> None:
        for service in self.objects.list(APIService):
            name = service.metadata.name or ""
            if name in self.looking:
                self.again.add(name)
            else:
                self.looking.add(name)
                looks.create_task(self.look_at(name, service))

    async def look_at(self, name: str, service: APIService) -> None:
        """Those that lead elsewhere are asked."""
        try:
            await self.judge(service)
        except Exception:
            log.exception("the APIService %s cannot be looked at", name)
        finally:
            self.looking.discard(name)
            if name in self.again:
                self.again.discard(name)
                self.changed.set()

    async def judge(self, service: APIService) -> None:
        if service.spec.service is None:
            await self.tell(service, IS_LOCAL)
            return
        said = obstacle(service, self.objects)
        documents: Mapping[str, Any] = {}
        if said is None:
            said, documents = await self.ask(service)
        await self.learn(service, said, documents)
        await self.tell(service, said)

    async def tell(self, service: APIService, said: Said) -> None:
        conditions = with_condition(service.status.conditions, said, self.machine.now())
        if conditions != service.status.conditions:
            status = changed(service.status, conditions=conditions)
            try:
                await self.objects.update_status(changed(service, status=status))
            except ApiError as error:
                log.info("apiservice %s: %s", service.metadata.name, error.message)

    async def ask(self, service: APIService) -> tuple[Said, Mapping[str, Any]]:
        """Whether it answers as an API server should, and what it says of itself."""
        group, version = service.spec.group or "", service.spec.version or ""
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        said: Said = PASSED
        for _ in range(ATTEMPTS):
            try:
                client = await self.client(service)
                status, document = await self.get(client, path)
                where = f"https://{client.authority}{path}"
                if 200 <= status < 300:
                    more = {name: (await self.get(client, name))[1] for name in ("/openapi/v2", "/openapi/v3")}
                    return PASSED, {"resources": document, **more}
                said = failed(where, f"bad status from {where}: {status}")
            except (Unreachable, ClientError, ssl.SSLError, OSError, ValueError) as error:
                said = failed(path, str(error.__cause__ or error))
        return said, {}

    async def get(self, client: Client, path: str) -> tuple[int, Any]:
        asked = Request("GET", path, "", {"accept": "application/json"}, repeated=remote_headers(SELF))
        try:
            async with timeout(ANSWER_SECONDS):
                response = await client.send(asked)
                body = await response.read(DOCUMENT_BYTES_MAX)
        except TimeoutError:
            raise Unreachable(f"no whole answer to {path} within {ANSWER_SECONDS:g} seconds") from None
        if response.status != 200:
            return response.status, None
        return response.status, await beside(lambda: document_in(body), len(body) > LARGE_BYTES)

    async def learn(self, service: APIService, said: Said, documents: Mapping[str, Any]) -> None:
        name, spec = service.metadata.name or "", service.spec
        group, version = spec.group or "", spec.version or ""
        if self.claimed.get((group, version)) != name:
            return  # it has gone meanwhile
        before = self.known.get(name)
        fresh = said[0] == "True"
        v2 = documents.get("/openapi/v2") or {}
        is_known = before is not None and await beside(lambda: v2 == before.openapi_v2)
        if v2 and not is_known and not await beside(lambda: is_readable(v2)):
            v2 = {}
        made = RemoteVersion(
            group, version, spec.group_priority_minimum, spec.version_priority,
            resources=resources_in(documents["resources"], group, version) if fresh else before.resources if before else (),
            fresh=fresh,
            openapi_v2=v2,
            openapi_v3=openapi_v3_in(documents.get("/openapi/v3"), group, version),
        )  # fmt: skip
        if made != before:
            self.known[name] = made
            self.invalidate()


def claimed_by(path: str) -> tuple[str, str]:
    """The group and version that a path belongs to; none has an empty version."""
    parts = path.removeprefix("/openapi/v3").split("/", 4)
    if path.startswith("/api/") or path == "/api":
        return CORE
    return (parts[2], parts[3]) if len(parts) > 3 and parts[1] == "apis" else ("", "")


def document_in(body: bytes) -> Any:
    try:
        return parse(body)
    except Malformed:
        return None


def is_readable(document: Any) -> bool:
    """Whether an OpenAPI 2 document is well enough formed to stand in ours: one that is not would spoil all of it."""
    from kybern.apiserver.openapi import gnostic

    try:
        gnostic.encoded({"swagger": "2.0", "info": {"title": "", "version": ""}, **document})
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return False
    return True


def is_available(service: APIService) -> bool:
    return any(one.type == AVAILABLE and one.status == "True" for one in service.status.conditions or ())
