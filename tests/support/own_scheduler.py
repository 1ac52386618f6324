"""A scheduler with a profile of one's own, beside the real API server and controllers, in virtual time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace as changed
from typing import Any

from kybern.api.codec import from_builtins
from kybern.api.core_v1 import Event, Pod
from kybern.client.events import Recorder
from kybern.controllers.table import controllers
from kybern.scheduler.extenders import Extender
from kybern.scheduler.extension_points import (
    Patched,
    PermitPlugin,
    PostBindPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    Profile,
    QueueSortPlugin,
    ReservePlugin,
    Verdict,
    WaitingPods,
)
from kybern.scheduler.framework import Change
from kybern.scheduler.profile import DEFAULT_PROFILE
from kybern.scheduler.scheduler import Scheduler
from kybern.scheduler.snapshot import Snapshot
from kybern.testing.cluster import Cluster, running

LOOPS = controllers(root_certificate="simulated", cluster_cidr="10.244.0.0/16")


@asynccontextmanager
async def scheduled(
    *nodes: str, profile: Profile = DEFAULT_PROFILE, extenders: Sequence[Extender] = ()
) -> AsyncIterator[tuple[Cluster, Scheduler]]:
    async with running(nodes=nodes, loops=LOOPS) as cluster:
        events = Recorder(cluster.client, "default-scheduler", "", cluster.clock, cluster.ids)
        scheduler = Scheduler(cluster.client, cluster.view, cluster.clock, cluster.ids, events, (profile,), extenders)
        tasks = [cluster.tasks.create_task(events.run()), cluster.tasks.create_task(scheduler.run())]
        await cluster.settle()
        try:
            yield cluster, scheduler
        finally:
            for task in tasks:
                task.cancel()


def pod(name: str, cpu: str = "1", annotations: dict[str, str] | None = None, **spec: Any) -> Pod:
    metadata = {"name": name, "namespace": "default", "annotations": annotations or {}}
    container = {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}
    return from_builtins(Pod, {"metadata": metadata, "spec": {"containers": [container], **spec}})


async def placed(cluster: Cluster) -> dict[str, str]:
    return {one.metadata.name or "": one.spec.node_name or "" for one in await cluster.client.list(Pod, "default")}


async def told(cluster: Cluster, reason: str = "FailedScheduling") -> list[str]:
    return [one.message or "" for one in await cluster.client.list(Event, "default") if one.reason == reason]


class Everything(PreEnqueuePlugin, QueueSortPlugin, ReservePlugin, PermitPlugin, PreBindPlugin, PostBindPlugin):
    name = "Everything"
    wakes_on = Change.NODE_LABELS

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.shut = False
        self.verdict: Verdict = None
        self.waiting: WaitingPods | None = None
        self.full = ""

    def pre_enqueue(self, pod: Pod, snapshot: Snapshot) -> str:
        return "shut" if self.shut else ""

    def sort_key(self, pod: Pod, added: float) -> tuple[Any, ...]:
        return (pod.metadata.name,)

    def reserve(self, pod: Pod, node: str, snapshot: Snapshot) -> str:
        self.seen.append(f"reserve {pod.metadata.name}")
        return self.full

    def unreserve(self, pod: Pod, node: str, snapshot: Snapshot) -> None:
        self.seen.append(f"unreserve {pod.metadata.name}")

    def permit(self, pod: Pod, node: str, waiting: WaitingPods) -> Verdict:
        self.waiting = waiting
        return self.verdict

    def writes(self, pod: Pod, node: str, snapshot: Snapshot) -> Sequence[Any]:
        self.seen.append(f"prebind {pod.metadata.name}")
        return [Patched(Pod, pod.metadata.name or "", "default", {"metadata": {"labels": {"bound": "soon"}}})]

    def post_bind(self, pod: Pod, node: str) -> None:
        self.seen.append(f"postbind {pod.metadata.name}")


def with_all(plugin: Everything) -> Profile:
    return changed(
        DEFAULT_PROFILE, pre_enqueue=(plugin,), queue_sort=plugin, reserve=(plugin,), permit=(plugin,),
        pre_bind=(plugin,), post_bind=(plugin,),
    )  # fmt: skip
