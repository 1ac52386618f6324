"""What the load needs: namespaces of its own with objects in them, a token, and all of it gone afterwards."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from kybern.web.client import Client
from kybern.web.http import Request

READ, PODS, WRITE, WATCH = "kybern-bench-read", "kybern-bench-pods", "kybern-bench-write", "kybern-bench-watch"
NAMESPACES = (READ, PODS, WRITE, WATCH)
BINDING = "kybern-bench"
CONFIGMAPS = 100
WATCHED_CONFIGMAPS = 20
AT_ONCE = 32
WAIT_SECONDS, LOOK_SECONDS = 60.0, 0.2
VALUE = "x" * 800


class SeedFailed(Exception):
    """The server did not take what the load needs."""


async def send(client: Client, method: str, path: str, body: Any = None, *, allowed: Iterable[int] = ()) -> Any:
    answer = await answer_to(client, method, path, body, allowed=allowed)
    return json.loads(answer) if answer.startswith(b"{") else None


async def answer_to(client: Client, method: str, path: str, body: Any = None, *, allowed: Iterable[int] = ()) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    response = await client.send(Request(method, path, "", {"content-type": "application/json"}, content))
    answer = await response.read()
    if response.status >= 400 and response.status not in allowed:
        raise SeedFailed(f"{method} {path}: {response.status} {message_in(answer)}")
    return answer


def message_in(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer[:300].decode("utf-8", "replace")


@asynccontextmanager
async def seeded(client: Client, pods: int) -> AsyncIterator[None]:
    await forget(client)
    try:
        for namespace in NAMESPACES:
            await send(client, "POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            account = {"metadata": {"name": "default"}}  # A bare API server has no controller that makes it.
            await send(client, "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account, allowed=[409])
        path = f"/api/v1/namespaces/{READ}/configmaps"
        await create(client, path, (configmap(f"cm-{n}") for n in range(CONFIGMAPS)))
        watched = (configmap(f"lag-{n}") for n in range(WATCHED_CONFIGMAPS))
        await create(client, f"/api/v1/namespaces/{WATCH}/configmaps", watched)
        await create(client, f"/api/v1/namespaces/{PODS}/pods", (pod(f"pod-{n}") for n in range(pods)))
        yield
    finally:
        await forget(client)


async def create(client: Client, path: str, objects: Iterable[Any]) -> None:
    remaining = iter(objects)

    async def worker() -> None:
        for obj in remaining:
            await answer_to(client, "POST", path, obj)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(worker())


async def forget(client: Client) -> None:
    """Deletes everything of an earlier run, and waits until the namespaces are gone."""
    await send(client, "DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/{BINDING}", allowed=[404])
    for namespace in NAMESPACES:
        for plural in ("pods", "configmaps"):
            body = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
            await send(client, "DELETE", f"/api/v1/namespaces/{namespace}/{plural}", body, allowed=[404])
        await send(client, "DELETE", f"/api/v1/namespaces/{namespace}", allowed=[404, 409])
    for namespace in NAMESPACES:
        await wait_for(client, f"/api/v1/namespaces/{namespace}", "Status")


async def wait_for(client: Client, path: str, kind: str) -> None:
    """Until that is what a GET answers; a Status where nothing is left."""
    for _ in range(int(WAIT_SECONDS / LOOK_SECONDS)):
        answer = await send(client, "GET", path, allowed=[404])
        if answer is not None and answer["kind"] == kind:
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise SeedFailed(f"{path} was no {kind} within {WAIT_SECONDS:g} s")


async def admin_token(client: Client) -> str:
    """A token that may do everything, of a service account in a namespace of ours. wrk knows no client certificates."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": READ}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": BINDING}, "subjects": [subject], "roleRef": role}
    await send(client, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    path = f"/api/v1/namespaces/{READ}/serviceaccounts/default/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    return str((await send(client, "POST", path, asked))["status"]["token"])


def configmap(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"key": VALUE}}


def pod(name: str) -> dict[str, Any]:
    """Nobody schedules it: what is measured is the API server."""
    container = {
        "name": "web",
        "image": "registry.example/web:1.0",
        "ports": [{"containerPort": 8080}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    }
    spec = {"schedulerName": "kybern-bench", "containers": [container], "automountServiceAccountToken": False}
    return {"metadata": {"name": name, "labels": {"app": "bench", "tier": "web"}}, "spec": spec}
