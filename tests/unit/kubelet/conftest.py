"""A kubelet in a test: a small API server in memory, a runtime that runs nothing, and time that passes by itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import pytest

from kybern.aio.clock import LoopClock
from kybern.aio.ids import Ids
from kybern.api.codec import from_builtins, to_builtins
from kybern.api.core_v1 import Container, Pod, PodSpec, PodStatus, Service
from kybern.api.meta_v1 import ObjectMeta
from kybern.client import Client, InMemory, View
from kybern.client.events import Recorder
from kybern.kubelet.config import KubeletConfig
from kybern.kubelet.kubelet import Kubelet
from kybern.kubelet.parts import NoVolumes, PodCgroups
from kybern.runtime.simulated import Simulated
from kybern.testing.virtual import run
from kybern.web.http import Request, Response

KEYS = {"conditions": "type", "podIPs": "ip", "hostIPs": "ip", "addresses": "type"}


class FakeApi:
    """Objects by path. It knows no rules beyond uids, deletion with grace, and merge keys of lists."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.revision = 0
        self.watchers: list[tuple[str, asyncio.Queue[bytes]]] = []
        self.requests: list[tuple[str, str]] = []
        self.down = False
        self.may_get: set[str] = set()

    async def __call__(self, request: Request) -> Response:
        path = request.path
        self.requests.append((request.method, path))
        if self.down:
            return self._fail(503, "ServiceUnavailable")
        body = await request.read()
        query = parse_qs(request.query)
        match request.method:
            case "GET" if "watch" in query:
                return Response(200, {}, self._watch(path))
            case "GET" if path.rsplit("/", 1)[1] in ("pods", "services", "nodes", "events"):
                items = [o for p, o in self.objects.items() if p.startswith(_prefix(path))]
                return self._answer({"items": items, "metadata": {"resourceVersion": str(self.revision)}})
            case "GET":
                found = self.objects.get(path)
                return self._answer(found) if found else self._fail(404, "NotFound")
            case "POST" if path.endswith("/token"):
                return self._answer({"status": {"token": "a-token", "expirationTimestamp": "2026-01-01T01:00:00Z"}})
            case "POST" if path.endswith("reviews"):
                return self._answer(self._review(json.loads(body)))
            case "POST":
                obj = json.loads(body)
                return self._answer(self.put(f"{path}/{obj['metadata']['name']}", obj))
            case "PUT":
                return self._answer(self.put(path, json.loads(body)))
            case "PATCH":
                return self._patch(path.removesuffix("/status"), json.loads(body))
            case "DELETE":
                return self._delete(path, json.loads(body or b"{}"))
        return self._fail(405, "MethodNotAllowed")

    def _answer(self, obj: Any) -> Response:
        return Response(200, {}, json.dumps(obj).encode())

    def _fail(self, code: int, reason: str) -> Response:
        status = {"kind": "Status", "status": "Failure", "message": reason, "reason": reason, "code": code}
        return Response(code, {}, json.dumps(status).encode())

    def _review(self, obj: dict[str, Any]) -> dict[str, Any]:
        """The token `good` is the user `scraper`, who may get what `may_get` says of nodes."""
        if obj["kind"] == "TokenReview":
            good = obj["spec"]["token"] == "good"
            return obj | {"status": {"authenticated": good, "user": {"username": "scraper"} if good else {}}}
        asked = obj["spec"]["resourceAttributes"]
        allowed = obj["spec"]["user"] == "scraper" and asked["verb"] == "get" and asked["subresource"] in self.may_get
        return obj | {"status": {"allowed": allowed}}

    def put(self, path: str, obj: dict[str, Any]) -> dict[str, Any]:
        known = path in self.objects
        self.revision += 1
        obj = {**obj, "metadata": {"uid": f"uid-{self.revision}", **obj["metadata"]}}
        obj["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[path] = obj
        self._tell("MODIFIED" if known else "ADDED", path, obj)
        return obj

    def remove(self, path: str) -> None:
        self.revision += 1
        self._tell("DELETED", path, self.objects.pop(path))

    def _tell(self, kind: str, path: str, obj: dict[str, Any]) -> None:
        line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
        for prefix, lines in self.watchers:
            if path.startswith(prefix):
                lines.put_nowait(line)

    async def _watch(self, path: str) -> AsyncIterator[bytes]:
        lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.watchers.append((_prefix(path), lines))
        while True:
            yield await lines.get()

    def _patch(self, path: str, patch: dict[str, Any]) -> Response:
        found = self.objects.get(path)
        if found is None:
            return self._fail(404, "NotFound")
        if patch.get("metadata", {}).get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
            return self._fail(409, "Conflict")
        return self._answer(self.put(path, _merged(found, patch)))

    def _delete(self, path: str, options: dict[str, Any]) -> Response:
        found = self.objects.get(path)
        if found is None:
            return self._fail(404, "NotFound")
        grace = options.get("gracePeriodSeconds", found["spec"].get("terminationGracePeriodSeconds", 30))
        if grace:
            self.delete_gracefully(path, grace)
        else:
            self.remove(path)
        return self._answer(found)

    def delete_gracefully(self, path: str, grace: int = 30) -> None:
        found = self.objects[path]
        deleted = {"deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": grace}
        self.put(path, {**found, "metadata": {**found["metadata"], **deleted}})

    # What tests read.

    def pod(self, name: str) -> Pod:
        return from_builtins(Pod, self.objects[f"/api/v1/namespaces/default/pods/{name}"])

    def has_pod(self, name: str) -> bool:
        return f"/api/v1/namespaces/default/pods/{name}" in self.objects

    def events(self) -> list[tuple[str, str]]:
        """Reason and message of each, in order."""
        found = [obj for path, obj in self.objects.items() if "/events/" in path]
        return [(event["reason"], event["message"]) for event in found]

    def bind(self, pod: Pod) -> None:
        self.put(f"/api/v1/namespaces/default/pods/{pod.metadata.name}", to_builtins(pod))


def _prefix(path: str) -> str:
    """All namespaces, which a list of the fake reads as `default`."""
    return path.replace("/api/v1/", "/api/v1/namespaces/default/") + "/" if path.count("/") == 3 else path + "/"


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    result = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif key in KEYS and isinstance(value, list):
            result[key] = _merged_list(old.get(key, []), value, KEYS[key])
        else:
            result[key] = _merged(old.get(key, {}), value) if isinstance(value, dict) else value
    return result


def _merged_list(old: list[Any], patch: list[Any], key: str) -> list[Any]:
    kept = [] if {"$patch": "replace"} in patch else {item[key]: item for item in old}
    gone = {item[key] for item in patch if item.get("$patch") == "delete"}
    found = dict(kept) | {item[key]: item for item in patch if key in item}
    return [item for name, item in found.items() if name not in gone]


class Cluster:
    def __init__(self, runtime: Simulated, api: FakeApi, kubelet: Kubelet, view: View) -> None:
        self.runtime, self.api, self.kubelet, self.view = runtime, api, kubelet, view

    async def until(self, holds: Callable[[], bool], seconds: float = 1200.0) -> float:
        """The seconds that passed until it held."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            assert loop.time() - began < seconds, f"it never came to be: {self.told()}"
            await asyncio.sleep(0.05)
        return loop.time() - began

    def told(self) -> str:
        """Where each pod stands, and what was asked of the API last."""
        pods = [
            f"{uid} is {worker.stage.value} after {worker.faults} faults with {worker.observed}, status {worker.writer.wanted}"
            for uid, worker in self.kubelet.workers.items()
        ]
        return "\n".join((*pods, *map(str, self.api.requests[-10:])))

    async def phase(self, name: str, phase: str) -> float:
        return await self.until(lambda: self.api.pod(name).status.phase == phase)


@asynccontextmanager
async def cluster(
    runtime: Simulated | None = None,
    api: FakeApi | None = None,
    seed: int = 1,
    clock: LoopClock | None = None,
    simulated: bool = True,
    cgroups: PodCgroups | None = None,
    **config: Any,
) -> AsyncIterator[Cluster]:
    clock, ids = clock or LoopClock(), Ids(seed)
    runtime, api = runtime or Simulated(clock), api or FakeApi()
    client = Client(InMemory(api))
    view = View(client, clock=clock, rng=ids.rng)
    view.watch_kind(Pod, fields="spec.nodeName=n1")
    view.watch_kind(Service)
    recorder = Recorder(client, "kubelet", "n1", clock, ids)
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    kubelet = Kubelet(
        client=client,
        view=view,
        runtime=runtime,
        volumes=NoVolumes(),
        recorder=recorder,
        clock=clock,
        ids=ids,
        config=KubeletConfig(node_name="n1", capacity=capacity, **config),
        simulated=simulated,
        cgroups=cgroups,
    )
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(part.run()) for part in (view, recorder, kubelet)]
        await kubelet.ready.wait()
        await kubelet.node.registered.wait()
        yield Cluster(runtime, api, kubelet, view)
        for task in running:
            task.cancel()


def pod(name: str = "web-1", *containers: Container, policy: str = "Always", **spec: Any) -> Pod:
    made = containers or (Container(name="web", image="web:1"),)
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"uid-{name}", generation=1),
        spec=PodSpec(containers=made, node_name="n1", restart_policy=policy, **spec),
        status=PodStatus(phase="Pending"),
    )


@dataclass(frozen=True)
class Lab:
    """Test files cannot import from here, so they are given what they need."""

    FakeApi: type[FakeApi] = FakeApi

    def cluster(self, **given: Any) -> AbstractAsyncContextManager[Cluster]:
        return cluster(**given)

    def pod(self, name: str = "web-1", *containers: Container, **given: Any) -> Pod:
        return pod(name, *containers, **given)

    def simulate(self, scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run it on virtual time."""
        run(scenario())


@pytest.fixture
def lab() -> Lab:
    return Lab()
