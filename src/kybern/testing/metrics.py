"""The metrics APIs of a simulated cluster, which somebody else serves in a real one: what a script says is measured.

    measured.usage["web", "cpu"] = "300m"        each pod labelled app=web uses so much
    measured.pods["web", "requests"] = "20"      each pod of that app shows this value
    measured.objects["main", "hits"] = "100"     the object of that name does
    measured.outside["queue"] = "30"             something outside the cluster does

While nothing was measured for an API, it is not served.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kybern.aio.clock import Clock, rfc3339
from kybern.api.codec import encode
from kybern.api.core_v1 import Pod
from kybern.api.selectors import parse_labels
from kybern.client import Client, Transport
from kybern.web.http import Request, Response

METRICS = "metrics.k8s.io"
RESOURCE, CUSTOM = "/apis/metrics.k8s.io/v1beta1/", "/apis/custom.metrics.k8s.io"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/"


@dataclass(slots=True)
class Measured:
    usage: dict[tuple[str, str], str] = field(default_factory=dict)
    pods: dict[tuple[str, str], str] = field(default_factory=dict)
    objects: dict[tuple[str, str], str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)


class WithMetrics:
    """A transport whose server has the metrics APIs too."""

    def __init__(self, transport: Transport, measured: Measured, clock: Clock) -> None:
        self.transport, self.measured, self.clock = transport, measured, clock

    async def send(self, request: Request) -> Response:
        found = await self._answer(request) if METRICS in request.path else None
        return await self.transport.send(request) if found is None else Response(body=encode(found))

    async def _answer(self, request: Request) -> Any:
        measured, parts = self.measured, request.path.split("/")
        if request.path.startswith(RESOURCE) and measured.usage:
            return {"items": [self._usage(pod) for pod in await self._selected(request, parts[5])]}
        if request.path == CUSTOM and (measured.pods or measured.objects):
            return {"name": "custom.metrics.k8s.io", "versions": [{"version": "v1beta2"}]}
        if request.path.startswith(f"{CUSTOM}/") and parts[7] == "*":
            pods = await self._selected(request, parts[5])
            return values((name_of(pod), measured.pods.get((app_of(pod), parts[8]))) for pod in pods)
        if request.path.startswith(f"{CUSTOM}/"):
            return values([(parts[7], measured.objects.get((parts[7], parts[8])))])
        if request.path.startswith(EXTERNAL) and measured.outside:
            return values([("", measured.outside.get(parts[6]))])
        return None

    async def _selected(self, request: Request, namespace: str) -> Sequence[Pod]:
        selector = parse_labels(request.params().get("labelSelector", [""])[0])
        pods = await Client(self.transport).list(Pod, namespace)
        return [pod for pod in pods if selector.matches(pod.metadata.labels)]

    def _usage(self, pod: Pod) -> Mapping[str, Any]:
        used = {resource: text for (app, resource), text in self.measured.usage.items() if app == app_of(pod)}
        running = pod.spec.containers if used and pod.status.phase == "Running" else ()
        return {
            "metadata": {"name": name_of(pod), "namespace": pod.metadata.namespace},
            "timestamp": rfc3339(self.clock.wall()),
            "window": "15s",
            "containers": [{"name": container.name, "usage": used} for container in running],
        }


def name_of(pod: Pod) -> str:
    return pod.metadata.name or ""


def app_of(pod: Pod) -> str:
    return (pod.metadata.labels or {}).get("app", "")


def values(found: Any) -> Mapping[str, Any]:
    return {"items": [{"describedObject": {"name": name}, "value": value} for name, value in found if value]}
