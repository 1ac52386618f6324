"""Goal: several control processes may run. Of those that ask for a lease one acts; and should two act at once, since no
lease can rule that out, nothing is doubled or lost. Method: simulated clusters with two control processes.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from kybern.api.apps_v1 import Deployment, StatefulSet
from kybern.api.batch_v1 import CronJob, Job
from kybern.api.coordination_v1 import Lease
from kybern.api.core_v1 import Pod, Service
from kybern.api.errors import NotFound
from kybern.client import Transport
from kybern.reconcile.pods import is_active
from kybern.testing import virtual
from kybern.testing.cluster import Cluster, Connect, running
from kybern.testing.objects import made
from kybern.web.http import Request, Response


async def pods_of(cluster: Cluster, app: str) -> list[Pod]:
    pods = await cluster.client.list(Pod, "default", labels=f"app={app}")
    return [pod for pod in pods if is_active(pod)]


async def holder(cluster: Cluster) -> str:
    lease = await cluster.client.get(Lease, "kube-controller-manager", "kube-system")
    return lease.spec.holder_identity or ""


def test_the_second_process_takes_over_when_the_first_one_is_killed() -> None:
    async def main() -> None:
        async with running(("n1",)) as cluster:
            cluster.control.kill()
            first, second = cluster.control_process("a"), cluster.control_process("b")
            first.start()
            await cluster.advance(1)
            second.start()
            await cluster.client.create(made("deployment", "web", {"replicas": "2"}))
            await cluster.settle()
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("a", 2)
            first.kill()
            await cluster.client.patch(Deployment, "web", "default", {"spec": {"replicas": 3}})
            await cluster.advance(10)
            assert len(await pods_of(cluster, "web")) == 2
            await cluster.advance(10)
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("b", 3)
            second.kill()

    virtual.run(main())


def test_whoever_has_lost_the_lease_starts_anew_and_waits() -> None:
    async def main() -> None:
        async with running(("n1",)) as cluster:
            cluster.control.kill()
            first, second = cluster.control_process("a"), cluster.control_process("b")
            first.start()
            await cluster.advance(1)
            stolen = {"spec": {"holderIdentity": "b", "leaseTransitions": 7}}
            await cluster.client.patch(Lease, "kube-controller-manager", "kube-system", stolen)
            second.start()
            await cluster.advance(30)
            await cluster.client.create(made("deployment", "web", {"replicas": "2"}))
            await cluster.advance(30)
            assert (await holder(cluster), len(await pods_of(cluster, "web"))) == ("b", 2)
            second.kill()
            await cluster.advance(30)
            assert await holder(cluster) == "a"
            first.kill()

    virtual.run(main())


@pytest.mark.parametrize("seed", range(3))
def test_two_at_once_do_no_harm(seed: int) -> None:
    virtual.run(two_at_once(seed))


async def two_at_once(seed: int) -> None:
    rng = random.Random(seed)
    async with running(("n1", "n2", "n3"), seed=seed) as cluster:
        second = cluster.control_process("")
        second.start()
        await everything(cluster)
        replicas = 4
        for number in range(12):
            await cluster.advance(rng.random() * 20)
            replicas = rng.randrange(6)
            container = {"name": "main", "image": f"web:{number % 3}"}
            template = {"spec": {"containers": [container]}}
            patch = {"spec": {"replicas": replicas, "template": template}}
            await cluster.client.patch(Deployment, "web", "default", patch)
        await cluster.client.patch(CronJob, "tick", "default", {"spec": {"suspend": True}})
        await cluster.advance(120)
        assert len(await pods_of(cluster, "web")) == replicas
        assert len(await pods_of(cluster, "db")) == 3
        stateful = await cluster.client.get(StatefulSet, "db", "default")
        assert stateful.status.ready_replicas == 3
        await check_jobs(cluster)
        second.kill()


async def everything(cluster: Cluster) -> None:
    indexed = {"spec.completions": "12", "spec.parallelism": "4", "spec.completionMode": "Indexed"}
    for kind, name, options in (
        ("deployment", "web", {"replicas": "4"}),
        ("service", "web", {}),
        ("statefulset", "db", {"replicas": "3"}),
        ("job", "work", {**indexed, "pod.runs-seconds": "7"}),
        ("cronjob", "tick", {"schedule": "*_*_*_*_*", "pod.runs-seconds": "5"}),
    ):
        await cluster.client.create(made(kind, name, options))


async def check_jobs(cluster: Cluster) -> None:
    job = await cluster.client.get(Job, "work", "default")
    assert (job.status.succeeded, job.status.completed_indexes, job.status.failed) == (12, "0-11", None)
    jobs = [job for job in await cluster.client.list(Job, "default") if job.metadata.name != "work"]
    times = [(job.metadata.annotations or {})["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in jobs]
    assert jobs and len(set(times)) == len(times)


# --- the leader stops, another takes over, and the first goes on with what it knew (row L3) ----------------------------

LEASE_SECONDS = 15.0
ROUNDS = 5  # each stops whoever leads then
RUNS = int(os.environ.get("LEADERS", "1"))  # `make sim` plays a hundred rounds
APPENDED = ("events", "tokenreviews", "subjectaccessreviews")  # nobody's state


class Stoppable:
    """The way of one process to the server. While it is stopped nothing gets out of the process and nothing in, as of one
    that SIGSTOP has met; then it goes on with what it was about to do. What it writes is watched over: a write that
    names no version and no uid could overwrite what another process has written meanwhile."""

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.going = asyncio.Event()
        self.going.set()
        self.careless: list[str] = []

    def __call__(self, account: str) -> "Way":
        return Way(self, self.connect(account))


@dataclass(frozen=True, slots=True)
class Way:
    of: Stoppable
    transport: Transport

    async def send(self, request: Request) -> Response:
        await self.of.going.wait()
        if not is_careful(request):
            self.of.careless.append(f"{request.method} {request.path}")
        response = await self.transport.send(request)
        await self.of.going.wait()
        if isinstance(response.body, AsyncIterator):
            response.body = self.pieces(response.body)
        return response

    async def pieces(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in body:
            await self.of.going.wait()
            yield piece


def is_careful(request: Request) -> bool:
    """Whether it cannot change anything but what its sender has seen. What is created has a name of its own."""
    last = request.path.split("/")[-2:]
    if (
        request.method in ("GET", "POST")
        or any(part in APPENDED for part in last)
        or not isinstance(request.body, bytes)
    ):
        return True
    said = json.loads(request.body or b"{}")
    meta = said.get("preconditions" if request.method == "DELETE" else "metadata") or {}
    return bool(meta.get("uid") or meta.get("resourceVersion"))


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_leader_that_was_stopped_and_goes_on_does_no_harm(seed: int) -> None:
    virtual.run(stopped_leaders(seed))


async def stopped_leaders(seed: int) -> None:
    rng = random.Random(seed)
    async with running(("n1", "n2", "n3"), seed=seed) as cluster:
        cluster.control.kill()
        processes = {name: cluster.control_process(name) for name in ("a", "b")}
        ways = {name: Stoppable(process.connect) for name, process in processes.items()}
        for name, process in processes.items():
            process.connect = ways[name]
            process.start()
        await cluster.advance(LEASE_SECONDS)
        await everything(cluster)
        leaders = set()
        for number in range(ROUNDS):
            leader = await holder(cluster)
            leaders.add(leader)
            await change(cluster, rng, number)
            await cluster.advance(rng.random())
            ways[leader].going.clear()
            await change(cluster, rng, number + 1)
            await cluster.advance(2 * LEASE_SECONDS)
            assert await holder(cluster) != leader
            ways[leader].going.set()
            await cluster.advance(rng.random() * 20)
            await nothing_is_doubled(cluster)
        replicas = await change(cluster, rng, 0)
        await cluster.client.patch(CronJob, "tick", "default", {"spec": {"suspend": True}})
        await cluster.advance(180)
        assert (len(await pods_of(cluster, "web")), len(await pods_of(cluster, "db"))) == (replicas, 3)
        await check_jobs(cluster)
        assert leaders == {"a", "b"}
        assert [way.careless for way in ways.values()] == [[], []]
        for process in processes.values():
            process.kill()


async def change(cluster: Cluster, rng: random.Random, number: int) -> int:
    """Another size, another version, another Service."""
    replicas = rng.randrange(6)
    template = {"spec": {"containers": [{"name": "main", "image": f"web:{number % 3}"}]}}
    await cluster.client.patch(Deployment, "web", "default", {"spec": {"replicas": replicas, "template": template}})
    name = f"service-{number % 10}"
    try:
        await cluster.client.delete(Service, name, "default")
    except NotFound:
        pass
    await cluster.client.create(made("service", name, {"spec.type": "NodePort"}))
    return replicas


async def nothing_is_doubled(cluster: Cluster) -> None:
    services = [one.spec for one in await cluster.client.list(Service)]
    addresses = [spec.cluster_ip for spec in services if spec.cluster_ip]
    ports = [port.node_port for spec in services for port in spec.ports or () if port.node_port]
    assert len(set(addresses)) == len(addresses) and len(set(ports)) == len(ports)
    indexes = [
        (pod.metadata.annotations or {})["batch.kubernetes.io/job-completion-index"]
        for pod in await cluster.client.list(Pod, "default", labels="batch.kubernetes.io/job-name=work")
        if pod.status.phase == "Succeeded"
    ]
    assert len(set(indexes)) == len(indexes)
