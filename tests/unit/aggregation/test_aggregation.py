"""APIServices that lead to an extension's API server: a small real one, over HTTPS on loopback."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from extension_server import BASE, ExtensionServer, extension_server, pairs

from kybern.aio.clock import SystemClock
from kybern.aio.ids import Ids
from kybern.api.apiregistration_v1 import APIService, ServiceReference
from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Endpoints, Service
from kybern.api.errors import Forbidden
from kybern.api.meta_v1 import ObjectMeta
from kybern.apiserver.aggregation import apis
from kybern.apiserver.aggregation.apis import CLIENTS_MAX, AggregatedApis, Credentials
from kybern.apiserver.aggregation.merging import RemoteVersion, with_groups
from kybern.apiserver.aggregation.passing import remote_headers
from kybern.apiserver.aggregation.registration import register
from kybern.apiserver.auth.authorizers import Authorizers
from kybern.apiserver.documents import OPENAPI_PROTOBUF, Documents
from kybern.apiserver.objects import ClusterObjects
from kybern.apiserver.request import Attributes, Decision, User
from kybern.apiserver.server import ApiServer, open_machine
from kybern.registry import RESOURCES
from kybern.registry.parts import changed
from kybern.store.memory import MemoryStore
from kybern.web.http import Request, Response, Upgrade

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
JANE = User("jane", ("devs", "system:authenticated"), "u-1", {"scopes/x": ("read", "write")})


async def jane(request: Request) -> User:
    return JANE


class Everything:
    def decide(self, attributes: Attributes) -> Decision:
        return Decision(attributes.name != "forbidden")


@dataclass
class Api:
    server: ApiServer
    objects: ClusterObjects
    apis: AggregatedApis
    extension: ExtensionServer
    ca: str

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.server(Request(method, path, query, sent, data))
        return response if isinstance(response, Upgrade) else (response.status, await response.read())

    async def json(self, path: str, **headers: str) -> Any:
        status, body = await self.send("GET", path, **headers)
        assert status == 200, body
        return json.loads(body)

    async def register(self, **spec: Any) -> None:
        await self.create(**spec)
        await self.apis.look()

    async def create(self, group: str = "wardle.example.com", **spec: Any) -> None:
        value = {
            "metadata": {"name": f"v1alpha1.{group}"},
            "spec": {
                "group": group, "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
                "service": {"name": "wardle", "namespace": "default", "port": 7443}, "caBundle": self.ca, **spec,
            },
        }  # fmt: skip
        await self.objects.create(from_builtins(APIService, value))

    async def serve(self) -> None:
        """The Service, and somebody behind it."""
        port = {"name": "https", "port": 7443}
        await self.objects.create(
            from_builtins(Service, {"metadata": {"name": "wardle", "namespace": "default"}, "spec": {"ports": [port]}})
        )
        subset = {"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "https", "port": 443}]}
        endpoints = {"metadata": {"name": "wardle", "namespace": "default"}, "subsets": [subset]}
        await self.objects.create(from_builtins(Endpoints, endpoints))

    @property
    def condition(self) -> tuple[str, str, str]:
        found = self.objects.get(APIService, "v1alpha1.wardle.example.com")
        assert found is not None
        for one in found.status.conditions or ():
            return one.status, one.reason or "", one.message or ""
        return "Unknown", "", ""


@pytest_asyncio.fixture
async def api() -> AsyncIterator[Api]:
    proxy_ca, proxy, own_ca = pairs()
    async with extension_server(proxy_ca, own_ca, "wardle.default.svc") as extension:
        machine = await open_machine(MemoryStore(), RESOURCES, SystemClock(), Ids(1))
        objects = ClusterObjects(machine)
        documents = Documents(machine.resources, remote=lambda: apis.remote())
        credentials = Credentials(proxy.certificate, proxy.key)

        async def reached(service: APIService) -> tuple[str, int]:
            return "127.0.0.1", extension.port

        apis = AggregatedApis(objects, machine, credentials, documents.invalidate, reached)
        server = ApiServer(
            machine,
            authenticate=jane,
            authorizer=Authorizers((Everything(),)),
            documents=(documents,),
            delegate=apis.delegate,
        )
        ca = base64.b64encode(own_ca.certificate).decode()
        yield Api(server, objects, apis, extension, ca)
        apis.close()


FLUNDERS = f"{BASE}/namespaces/default/flunders"
FLUNDER = {"apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder", "metadata": {"name": "a"}}


async def test_requests_go_on_in_their_users_name(api: Api) -> None:
    await api.serve()
    await api.register()
    assert api.condition == ("True", "Passed", "all checks passed")
    made, _ = await api.send(
        "POST", FLUNDERS, FLUNDER, authorization="Bearer secret", x_remote_user="root", x_remote_extra_a="b", cookie="c"
    )
    assert made == 201
    seen = api.extension.users[-1]
    assert (seen["x-remote-user"], seen["x-remote-group"]) == ("jane", "devs, system:authenticated")
    assert (seen["x-remote-uid"], seen["x-remote-extra-scopes%2fx"]) == ("u-1", "read, write")
    assert not {"authorization", "x-remote-extra-a"} & seen.keys()
    assert (await api.json(FLUNDERS))["items"] == [FLUNDER]
    assert (await api.send("GET", f"{FLUNDERS}/nobody"))[0] == 404
    assert (await api.send("DELETE", f"{FLUNDERS}/a"))[0] == 200


def test_a_name_is_told_as_it_is_or_not_at_all() -> None:
    assert remote_headers(User("josé"))[0] == ("x-remote-user", "jos\xc3\xa9")  # bytes of UTF-8
    for name in (" admin", "admin ", "a\nx-remote-group: system:masters", "a\x00"):
        with pytest.raises(Forbidden):
            remote_headers(User(name))
        with pytest.raises(Forbidden):
            remote_headers(User("jane", (name,)))


async def test_they_are_authorized_here_first(api: Api) -> None:
    await api.serve()
    await api.register()
    assert (await api.send("GET", f"{FLUNDERS}/forbidden"))[0] == 403
    assert api.extension.users == []


async def test_streams_and_upgrades_pass_through(api: Api) -> None:
    await api.serve()
    await api.register()
    await api.send("POST", FLUNDERS, FLUNDER)
    _, events = await api.send("GET", f"{FLUNDERS}?watch=true")
    assert json.loads(events)["type"] == "ADDED"
    taken = await api.send("GET", f"{FLUNDERS}/a", connection="Upgrade", upgrade="echo/1")
    assert isinstance(taken, Upgrade)
    ours, theirs = Pipe.pair()
    assert taken.takeover is not None
    relaying = asyncio.ensure_future(taken.takeover(theirs))
    await ours.send(b"hello")
    assert await asyncio.wait_for(ours.receive(), 5) == b"hello"
    relaying.cancel()


class Pipe:
    """A connection in memory."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self.other = self

    @classmethod
    def pair(cls) -> tuple["Pipe", "Pipe"]:
        one, other = cls(), cls()
        one.other, other.other = other, one
        return one, other

    async def receive(self) -> bytes:
        return await self.waiting.get()

    async def send(self, data: bytes) -> None:
        self.other.waiting.put_nowait(data)

    async def send_eof(self) -> None:
        self.other.waiting.put_nowait(b"")

    def close(self) -> None:
        self.other.waiting.put_nowait(b"")


async def test_nobody_is_led_elsewhere(api: Api) -> None:
    await api.serve()
    await api.register()
    status, body = await api.send("GET", f"{FLUNDERS}/away")
    assert (status, b"attempted to redirect" in body, b"secrets" in body) == (502, True, False)


async def test_what_stands_in_the_way_is_told_in_order(api: Api) -> None:
    await api.register()
    assert api.condition == ("False", "ServiceNotFound", 'service/wardle in "default" is not present')
    port = {"name": "https", "port": 9}
    service = {"metadata": {"name": "wardle", "namespace": "default"}, "spec": {"ports": [port]}}
    made = await api.objects.create(from_builtins(Service, service))
    await api.apis.look()
    assert api.condition[1:] == ("ServicePortError", 'service/wardle in "default" is not listening on port 7443')
    await api.objects.delete(Service, made.metadata.name or "", "default")
    port["port"] = 7443
    await api.objects.create(from_builtins(Service, service))
    await api.apis.look()
    assert api.condition[1] == "EndpointsNotFound"
    status, body = await api.send("GET", FLUNDERS)
    assert (status, b"service unavailable" in body) == (503, True)


async def test_an_extension_that_does_not_answer_is_not_available(api: Api) -> None:
    await api.serve()
    api.extension.broken = True
    await api.register()
    assert api.condition[1] == "FailedDiscoveryCheck"
    assert "bad status from" in api.condition[2]
    api.extension.broken = False
    await api.apis.look()
    assert api.condition[0] == "True"


async def test_an_answer_that_does_not_end_is_waited_for_so_long(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    monkeypatch.setattr(apis, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(apis, "ATTEMPTS", 1)
    await api.serve()
    api.extension.discovery = lambda: Response(200, {"Content-Type": "application/json"}, endless())
    await api.register()
    assert api.condition[:2] == ("False", "FailedDiscoveryCheck")
    assert "no whole answer to /apis/wardle.example.com/v1alpha1 within 0.2 seconds" in api.condition[2]


async def test_one_that_hangs_keeps_no_other_waiting(api: Api) -> None:
    reached, hangs = api.apis.resolve, asyncio.Event()

    async def resolve(service: APIService) -> tuple[str, int]:
        if service.spec.group == "slow.example.com":
            hangs.set()
            await asyncio.Event().wait()
        return await reached(service)

    api.apis.resolve = resolve
    await api.serve()
    await api.create("slow.example.com")
    running = asyncio.ensure_future(api.apis.run())
    async with asyncio.timeout(10):
        await hangs.wait()
        await api.create()
        while api.condition[1] != "Passed":
            await asyncio.sleep(0.01)
    running.cancel()


async def test_one_that_changes_while_it_is_asked_is_asked_again(api: Api) -> None:
    reached, asked, go = api.apis.resolve, asyncio.Event(), asyncio.Event()

    async def resolve(service: APIService) -> tuple[str, int]:
        asked.set()
        await go.wait()
        return await reached(service)

    api.apis.resolve = resolve
    await api.serve()
    _, _, other = pairs()
    await api.create(caBundle=base64.b64encode(other.certificate).decode())
    running = asyncio.ensure_future(api.apis.run())
    async with asyncio.timeout(10):
        await asked.wait()
        found = api.objects.get(APIService, "v1alpha1.wardle.example.com")
        assert found is not None
        await api.objects.update(changed(found, spec=changed(found.spec, ca_bundle=api.ca)))
        await asyncio.sleep(0)
        go.set()
        while api.condition[1] != "Passed":
            await asyncio.sleep(0.01)
    running.cancel()


@pytest.mark.parametrize(
    "said",
    [
        b"[" * 100_000,
        b"5",
        b'{"resources": 5}',
        b'{"resources": [{"name": "flunders", "kind": "Flunder", "verbs": 5, "group": {}, "version": [], "singularName": 7,'
        b' "shortNames": [1, {}], "categories": 1.5, "namespaced": "x"}, {"name": 1}, [], {"name": "a", "kind": {}}]}',
        b'{"resources": [' + b'{"name":"a/b","kind":"A"},' * 10_000 + b'{"name":"a","kind":"A","verbs":[1e300]}]}',
    ],
    ids=lambda said: str(said[:40]),
)
async def test_whatever_an_extension_says_of_itself_spoils_nothing(api: Api, said: bytes) -> None:
    await api.serve()
    api.extension.discovery = lambda: Response(200, {"Content-Type": "application/json"}, said)
    await api.register()
    assert api.condition[0] == "True"
    assert {"apps", "wardle.example.com"} <= {one["name"] for one in (await api.json("/apis"))["groups"]}
    aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert (await api.json("/apis", accept=aggregated))["kind"] == "APIGroupDiscoveryList"


async def test_only_the_right_certificate_is_believed(api: Api) -> None:
    await api.serve()
    _, _, other = pairs()
    await api.register(caBundle=base64.b64encode(other.certificate).decode())
    assert api.condition[:2] == ("False", "FailedDiscoveryCheck")
    await api.objects.delete(APIService, "v1alpha1.wardle.example.com")
    await api.register(caBundle=None, insecureSkipTLSVerify=True)
    assert api.condition[0] == "True"


async def test_the_documents_join_what_both_serve(api: Api) -> None:
    await api.serve()
    await api.register()
    groups = {group["name"]: group for group in (await api.json("/apis"))["groups"]}
    assert groups["wardle.example.com"]["preferredVersion"]["version"] == "v1alpha1"
    assert "apps" in groups
    assert (await api.json("/apis/wardle.example.com"))["versions"][0]["version"] == "v1alpha1"
    assert (await api.json(BASE))["resources"][0]["name"] == "flunders"
    found = {item["metadata"]["name"]: item for item in (await api.json("/apis", accept=AGGREGATED))["items"]}
    [version] = found["wardle.example.com"]["versions"]
    assert (version["freshness"], version["resources"][0]["resource"]) == ("Current", "flunders")
    assert version["resources"][0]["subresources"][0]["subresource"] == "status"
    swagger = await api.json("/openapi/v2", accept="application/json")
    assert f"{BASE}/flunders" in swagger["paths"]
    assert swagger["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"] != "stolen"
    assert swagger["definitions"]["io.k8s.api.core.v1.Pod"]["type"] == "object"
    assert (await api.send("GET", "/openapi/v2", accept=OPENAPI_PROTOBUF))[0] == 200
    index = await api.json("/openapi/v3")
    assert index["paths"]["apis/wardle.example.com/v1alpha1"]["serverRelativeURL"].endswith("hash=1")
    assert (await api.json("/openapi/v3/apis/wardle.example.com/v1alpha1"))["openapi"] == "3.0.0"
    api.extension.broken = True
    await api.apis.look()
    found = {item["metadata"]["name"]: item for item in (await api.json("/apis", accept=AGGREGATED))["items"]}
    assert found["wardle.example.com"]["versions"][0]["freshness"] == "Stale"


async def test_what_is_registered_no_more_is_not_there(api: Api) -> None:
    await api.serve()
    await api.register()
    await api.objects.delete(APIService, "v1alpha1.wardle.example.com")
    assert (await api.send("GET", FLUNDERS))[0] == 404
    assert "wardle.example.com" not in [group["name"] for group in (await api.json("/apis"))["groups"]]


async def registered(api: Api) -> dict[str, APIService]:
    """As they are once the server has started."""
    running = asyncio.ensure_future(api.apis.run())
    await asyncio.sleep(0.05)
    running.cancel()
    return {one.metadata.name or "": one for one in api.objects.list(APIService)}


async def test_what_this_server_serves_is_registered_as_upstream_registers_it(api: Api) -> None:
    listed = await registered(api)
    core = listed["v1."]
    assert (core.spec.service, (core.status.conditions or ())[0].reason) == (None, "Local")
    assert listed["v1.apps"].metadata.labels == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    for name, priorities in (("v1.", (18000, 1)), ("v1.apps", (17800, 15)), ("v2.autoscaling", (17500, 30))):
        spec = listed[name].spec
        assert (spec.group_priority_minimum, spec.version_priority) == priorities
    assert "v1.apiregistration.k8s.io" not in listed, "nobody else could answer for it"


async def test_what_an_administrator_makes_of_them_holds_until_the_server_starts_again(api: Api) -> None:
    found = (await registered(api))["v1.apps"]
    await api.objects.update(changed(found, spec=changed(found.spec, version_priority=7)))
    await api.objects.delete(APIService, "v1.batch")
    await register(api.objects.machine, api.objects, starting=False)
    listed = {one.metadata.name: one for one in api.objects.list(APIService)}
    assert (listed["v1.apps"].spec.version_priority, "v1.batch" in listed) == (7, False)
    listed = {**await registered(api)}
    assert (listed["v1.apps"].spec.version_priority, "v1.batch" in listed) == (15, True)


async def test_the_core_group_too_can_be_somebody_elses(api: Api) -> None:
    await api.serve()
    core = (await registered(api))["v1."]
    service = ServiceReference(name="wardle", namespace="default", port=7443)
    spec = changed(core.spec, service=service, ca_bundle=api.ca)
    await api.objects.update(changed(core, spec=spec))
    await api.apis.look()
    for path in ("/api", "/api/v1/namespaces/default/flunders"):
        assert (await api.send("GET", path))[0] == 200
    assert api.extension.users[-1]["x-remote-user"] == "jane"
    assert (await api.json("/apis"))["groups"][0]["name"] == "apiregistration.k8s.io"
    api.extension.broken = True
    await api.apis.look()
    assert (await api.send("GET", "/api/v1/pods"))[0] == 503
    assert (await registered(api))["v1."].spec.service is None
    assert (await api.send("GET", "/api/v1/pods"))[0] == 200


async def test_a_version_that_we_serve_too_is_theirs_where_an_apiservice_says_so(api: Api) -> None:
    await api.serve()
    found = (await registered(api))["v1.batch"]
    service = ServiceReference(name="wardle", namespace="default", port=7443)
    await api.objects.update(changed(found, spec=changed(found.spec, service=service, ca_bundle=api.ca)))
    api.extension.groups["batch/v1"] = [{"name": "jobs", "singularName": "job", "kind": "Job", "verbs": ["get"]}]
    await api.apis.look()
    batch = {item["metadata"]["name"]: item for item in (await api.json("/apis", accept=AGGREGATED))["items"]}["batch"]
    [version] = batch["versions"]
    assert [one["resource"] for one in version["resources"]] == ["jobs"]
    groups = {group["name"]: group for group in (await api.json("/apis"))["groups"]}
    assert [one["version"] for one in groups["batch"]["versions"]] == ["v1"]
    assert await api.json("/apis/batch/v1/namespaces/default/jobs/x") == {"kind": "Job"}


def test_the_most_important_group_is_told_first() -> None:
    """Clients take a short name from the first group that has it."""
    own = {"groups": [{"name": name, "versions": []} for name in ("apiregistration.k8s.io", "apps", "custom.io")]}
    remote = [RemoteVersion(group, "v1", priority, 1) for group, priority in (("low.io", 100), ("high.io", 2000))]
    told = [group["name"] for group in with_groups(own, remote)["groups"]]
    assert told == ["apiregistration.k8s.io", "apps", "high.io", "custom.io", "low.io"]


async def test_a_server_beside_ours_is_reached_by_an_external_name_and_has_to_prove_itself(api: Api) -> None:
    api.apis.resolve = api.apis.behind
    outside = {"type": "ExternalName", "externalName": "localhost"}
    service = {"metadata": {"name": "wardle", "namespace": "default"}, "spec": outside}
    await api.objects.create(from_builtins(Service, service))
    reference = {"name": "wardle", "namespace": "default", "port": api.extension.port}
    await api.register(service=reference)
    assert api.condition == ("True", "Passed", "all checks passed")
    assert (await api.json(FLUNDERS))["items"] == []
    await api.objects.delete(APIService, "v1alpha1.wardle.example.com")
    await api.register(service=reference, caBundle=None, insecureSkipTLSVerify=True)
    assert api.condition[:2] == ("False", "FailedDiscoveryCheck")
    assert "address not allowed" in api.condition[2]


async def test_of_servers_that_come_and_go_only_the_latest_are_kept(api: Api) -> None:
    await api.serve()
    await api.register()
    service = api.objects.get(APIService, "v1alpha1.wardle.example.com")
    assert service is not None
    places = iter([("127.0.0.1", 1_000 + number) for number in range(2 * CLIENTS_MAX)])

    async def moved(service: APIService) -> tuple[str, int]:
        return next(places)

    api.apis.resolve = moved
    last = [await api.apis.client(service) for _ in range(2 * CLIENTS_MAX)][-1]
    assert len(api.apis.clients) == CLIENTS_MAX and last in api.apis.clients.values()


async def test_only_what_is_behind_an_apiservice_makes_its_server_be_asked_again(api: Api) -> None:
    await api.serve()
    await api.register()
    api.apis.changed.clear()
    endpoints = api.objects.get(Endpoints, "wardle", "default")
    assert endpoints is not None
    await api.objects.create(changed(endpoints, metadata=ObjectMeta(name="other", namespace="default")))
    assert not api.apis.changed.is_set()
    await api.objects.update(changed(endpoints, subsets=None))
    assert api.apis.changed.is_set()
